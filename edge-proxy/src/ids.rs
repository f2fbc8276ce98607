//! Ids that are no secret and must only be no other's: of requests, sessions and claims.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use uuid::{Builder, Timestamp, Uuid};

/// An id that says when it was drawn, as [`Uuid::now_v7`], which asks the system for random bytes
/// each time.
pub fn draw() -> Uuid {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static BEGAN: LazyLock<(Instant, Option<Timestamp>)> =
        LazyLock::new(|| (Instant::now(), Uuid::now_v7().get_timestamp()));
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let [first, second] = [(0, number), (1, number)].map(|part| KEYS.hash_one(part).to_be_bytes());
    let mut tail = [0; 10];
    tail[..8].copy_from_slice(&first);
    tail[8..].copy_from_slice(&second[..2]);
    let (began, at) = *BEGAN;
    let (seconds, nanos) = at.map_or((0, 0), |at| at.to_unix());
    let since_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let at_ms = seconds * 1_000 + u64::from(nanos) / 1_000_000 + since_ms;
    Builder::from_unix_timestamp_millis(at_ms, &tail).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_id_is_drawn_twice_and_each_says_when_it_was() {
        let drawn: HashSet<Uuid> = (0..10_000).map(|_| draw()).collect();
        assert_eq!(drawn.len(), 10_000);
        let at = |id: Uuid| id.get_timestamp().expect("version 7 has one").to_unix().0;
        let now = at(Uuid::now_v7());
        assert!(drawn.into_iter().all(|id| id.get_version_num() == 7 && now.abs_diff(at(id)) < 60));
    }
}
