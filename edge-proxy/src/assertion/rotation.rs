//! Which key signs, and which keys are told to those who verify. Every key is known everywhere
//! before it signs, and until nothing that it signed is good any more. Time is an argument.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::error::Unspecified;
use shared::redis::MOST_ASSERTION_KEYS;

use super::key::{Key, PublicKey};

/// How far a verifier's clock may be behind.
const LEEWAY: Duration = Duration::from_mins(1);
/// How long those who verify may keep the keys, at most.
const KEPT_AT_MOST: Duration = Duration::from_mins(5);
/// How many times the keys are fetched between two turns, at least, by a verifier that caches them
/// as long as they may.
const FETCHES_PER_TURN: u32 = 5;
/// No key of another edge is believed to last longer.
const LASTS_AT_MOST: Duration = Duration::from_hours(48);

/// How long keys and what they sign are good for.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// Of what is signed.
    pub lifetime: Duration,
    pub rotated_every: Duration,
    /// For how long an edge signs without Redis.
    pub outage_grace: Duration,
    /// How often edges tell each other their keys.
    pub told_every: Duration,
}

impl Spans {
    /// How long those who verify may keep the keys that they were told.
    pub fn key_set_lasts(&self) -> Duration {
        KEPT_AT_MOST.min(self.rotated_every / FETCHES_PER_TURN)
    }

    /// How long before its first signature a key must have been told, so that everybody knows it by
    /// then.
    fn lead(&self) -> Duration {
        self.key_set_lasts() + self.heard_within()
    }

    /// When all edges know what one of them told, one of them having missed a turn.
    fn heard_within(&self) -> Duration {
        self.told_every * 3
    }

    /// How long a key is of use after its last signature.
    fn verified_for(&self) -> Duration {
        self.lifetime + LEEWAY
    }
}

/// A key of this edge.
struct Own {
    key: Arc<Key>,
    /// When Redis first had it.
    told: Option<Instant>,
}

impl Own {
    fn generate() -> Result<Self, Unspecified> {
        Ok(Self { key: Arc::new(Key::generate()?), told: None })
    }
}

/// The keys of this edge, and the public ones of the others.
pub struct Rotation {
    spans: Spans,
    signing: Own,
    signs_since: Instant,
    next: Own,
    /// What signed before, and until when something may be verified with it.
    retired: Vec<(PublicKey, Instant)>,
    /// The same of other edges' keys. No more than [`MOST_ASSERTION_KEYS`].
    others: BTreeMap<PublicKey, Instant>,
}

impl Rotation {
    /// New keys, which nobody knows yet.
    pub fn new(spans: Spans, now: Instant) -> Result<Self, Unspecified> {
        let (signing, next) = (Own::generate()?, Own::generate()?);
        Ok(Self { spans, signing, signs_since: now, next, retired: Vec::new(), others: BTreeMap::new() })
    }

    /// What signs.
    pub fn key(&self) -> Arc<Key> {
        Arc::clone(&self.signing.key)
    }

    /// Whether every edge knows what signs here.
    pub fn is_known(&self, now: Instant) -> bool {
        self.signing.told.is_some_and(|told| now >= told + self.spans.heard_within())
    }

    /// Lets the next key sign if it is its turn and everybody knows it, and forgets what nothing is
    /// verified with any more. While Redis is away nobody is told, and the key that signs goes on.
    /// Fails if no key can be drawn; then nothing has changed.
    pub fn turn(&mut self, now: Instant) -> Result<(), Unspecified> {
        self.retired.retain(|(_, until)| now < *until);
        self.others.retain(|_, until| now < *until);
        let is_due = now >= self.signs_since + self.spans.rotated_every;
        let is_known = self.next.told.is_some_and(|told| now >= told + self.spans.lead());
        if is_due && is_known {
            let next = std::mem::replace(&mut self.next, Own::generate()?);
            let before = std::mem::replace(&mut self.signing, next);
            self.retired.push((before.key.public, now + self.spans.verified_for()));
            self.signs_since = now;
        }
        Ok(())
    }

    /// What is to be told of this edge's keys: each, and how long it is of use from now on, though
    /// this edge died right now, or lived on for long without Redis.
    pub fn telling(&self, now: Instant) -> Vec<(PublicKey, Duration)> {
        let lasts = self.spans.outage_grace + self.spans.verified_for();
        let live = [&self.signing, &self.next].map(|own| (own.key.public, lasts));
        let retired = self.retired.iter().map(|(key, until)| (*key, until.saturating_duration_since(now)));
        live.into_iter().chain(retired).collect()
    }

    /// Takes in which keys Redis has by `now`, those of this edge among them, and for how long, as
    /// of when that was `asked`.
    pub fn told(&mut self, asked: Instant, published: Vec<(PublicKey, Duration)>, now: Instant) {
        for own in [&mut self.signing, &mut self.next] {
            if published.iter().any(|(key, _)| *key == own.key.public) {
                own.told.get_or_insert(now);
            }
        }
        let is_own = |key: &PublicKey| self.own().any(|own| own == *key);
        let others: Vec<_> = published.into_iter().filter(|(key, _)| !is_own(key)).collect();
        // What was heard before and is missing now is kept to its end: Redis may have lost it.
        for (key, lasts) in others {
            self.others.insert(key, asked + lasts.min(LASTS_AT_MOST));
            if self.others.len() > MOST_ASSERTION_KEYS {
                // Those of edges that live are told again and again, and last longer each time.
                let soonest = self.others.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key);
                soonest.map(|key| self.others.remove(&key));
            }
        }
    }

    /// Every key with which something may be verified.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> {
        self.own().chain(self.others.keys().copied())
    }

    fn own(&self) -> impl Iterator<Item = PublicKey> {
        let live = [&self.signing, &self.next].map(|own| own.key.public);
        live.into_iter().chain(self.retired.iter().map(|(key, _)| *key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: Spans = Spans {
        lifetime: Duration::from_secs(60),
        rotated_every: Duration::from_hours(1),
        outage_grace: Duration::from_secs(60),
        told_every: Duration::from_secs(1),
    };

    fn ring(now: Instant) -> Rotation {
        Rotation::new(SPANS, now).expect("keys")
    }

    fn tell(ring: &mut Rotation, now: Instant) {
        let published = ring.telling(now);
        ring.told(now, published, now);
    }

    fn has(ring: &Rotation, key: PublicKey) -> bool {
        ring.keys().any(|known| known == key)
    }

    #[test]
    fn a_key_is_published_long_before_its_first_signature_until_its_last_expires() {
        let start = Instant::now();
        let (mut ring, mut known_since) = (ring(start), BTreeMap::new());
        let mut signed_until = BTreeMap::new();
        for second in 0..4 * 3600 {
            let now = start + Duration::from_secs(second);
            ring.turn(now).expect("keys");
            tell(&mut ring, now);
            for key in ring.keys() {
                known_since.entry(key).or_insert(second);
            }
            let signing = ring.key().public;
            let is_first = signed_until.is_empty() || signing == *signed_until.keys().next().expect("one");
            assert!(second < 3600 && is_first || second - known_since[&signing] >= 303, "at {second}");
            signed_until.insert(signing, second);
            let missing = signed_until.iter().find(|(key, until)| second - *until < 120 && !has(&ring, **key));
            assert!(missing.is_none(), "at {second}");
            assert!(ring.keys().count() <= 3, "nothing piles up");
        }
        assert_eq!(signed_until.len(), 4);
    }

    #[test]
    fn a_key_that_was_not_told_does_not_sign_however_long_redis_is_away() {
        let start = Instant::now();
        let mut ring = ring(start);
        let first = ring.key().public;
        let later = start + Duration::from_hours(5);
        ring.turn(later).expect("keys");
        assert_eq!(ring.key().public, first);
        tell(&mut ring, later);
        for (after, signs_on) in [(0, true), (302, true), (303, false)] {
            ring.turn(later + Duration::from_secs(after)).expect("keys");
            assert_eq!(ring.key().public == first, signs_on, "after {after} s");
        }
    }

    #[test]
    fn an_edge_is_known_once_all_others_had_the_time_to_hear_of_it() {
        let start = Instant::now();
        let mut ring = ring(start);
        ring.told(start, Vec::new(), start);
        assert!(!ring.is_known(start + Duration::from_hours(1)));
        tell(&mut ring, start);
        assert!(!ring.is_known(start + Duration::from_secs(2)));
        assert!(ring.is_known(start + Duration::from_secs(3)));
    }

    #[test]
    fn keys_of_others_last_as_long_as_they_said_though_redis_loses_them() {
        let start = Instant::now();
        let (mut here, there) = (ring(start), ring(start));
        here.told(start, there.telling(start), start);
        let [signing, next] = [there.key().public, there.next.key.public];
        here.told(start, Vec::new(), start);
        for (after, is_known) in [(0, true), (179, true), (180, false)] {
            here.turn(start + Duration::from_secs(after)).expect("keys");
            assert_eq!((has(&here, signing), has(&here, next)), (is_known, is_known), "after {after} s");
        }
    }

    #[test]
    fn keys_that_last_longer_take_the_place_of_those_that_end_sooner() {
        let start = Instant::now();
        let (mut here, there) = (ring(start), ring(start));
        let dead = std::iter::repeat_with(|| (Key::generate().expect("a key").public, SPANS.lifetime));
        here.told(start, dead.take(MOST_ASSERTION_KEYS).collect(), start);
        here.told(start, there.telling(start), start);
        assert!(has(&here, there.key().public) && has(&here, there.next.key.public));
        let sooner = Key::generate().expect("a key").public;
        here.told(start, vec![(sooner, SPANS.lifetime / 2)], start);
        assert!(!has(&here, sooner));
        assert_eq!(here.keys().count(), MOST_ASSERTION_KEYS + 2);
    }

    #[test]
    fn no_more_keys_are_taken_in_than_are_kept_and_none_for_ever() {
        let start = Instant::now();
        let mut ring = ring(start);
        let foreign = || {
            let keys = std::iter::repeat_with(|| Key::generate().expect("a key").public);
            keys.map(|key| (key, Duration::MAX)).take(MOST_ASSERTION_KEYS).collect::<Vec<_>>()
        };
        ring.told(start, foreign(), start);
        ring.told(start, foreign(), start);
        assert_eq!(ring.keys().count(), MOST_ASSERTION_KEYS + 2);
        ring.turn(start + LASTS_AT_MOST).expect("keys");
        assert!(ring.others.is_empty());
    }
}
