//! How much of a request's body has come, and how fast: one that is too large or does not go on
//! ends. Pure.

use std::time::{Duration, Instant};

use crate::rejection::Rejection;

/// What must come of a body within each stretch of time.
const LEAST_BYTES: u64 = 1024;

/// A body on its way in.
#[derive(Clone, Copy, Debug)]
pub struct RequestBody {
    /// The most bytes that it may have; 0 for any number.
    most: u64,
    within: Duration,
    bytes: u64,
    /// When the stretch that is being measured began, and what has come in it.
    since: Instant,
    fresh: u64,
}

impl RequestBody {
    pub fn new(most: u64, within: Duration, now: Instant) -> Self {
        Self { most, within, bytes: 0, since: now, fresh: 0 }
    }

    /// From here on the body comes once more, from its first byte.
    pub fn begin_again(&mut self, now: Instant) {
        *self = Self::new(self.most, self.within, now);
    }

    /// Takes a piece in.
    pub fn came(&mut self, bytes: u64, is_end: bool, now: Instant) -> Result<(), Rejection> {
        self.bytes += bytes;
        self.fresh += bytes;
        if self.most > 0 && self.bytes > self.most {
            return Err(Rejection::BodyTooLarge);
        }
        if is_end || now.duration_since(self.since) <= self.within {
            return Ok(());
        }
        if self.fresh < LEAST_BYTES {
            return Err(Rejection::BodyTimeout);
        }
        (self.since, self.fresh) = (now, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    #[test]
    fn a_body_that_drips_ends_and_one_that_flows_does_not() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut flows = RequestBody::new(0, WITHIN, start);
        for second in 1..1_000 {
            assert_eq!(flows.came(64, false, after(second)), Ok(()), "{second}");
        }
        let mut drips = RequestBody::new(0, WITHIN, start);
        for second in 1..=30 {
            assert_eq!(drips.came(1, false, after(second)), Ok(()), "{second}");
        }
        assert_eq!(drips.came(1, true, after(31)), Ok(()), "it ends");
        assert_eq!(drips.came(1, false, after(31)), Err(Rejection::BodyTimeout));
    }

    #[test]
    fn a_body_is_as_large_as_it_may_be_and_no_larger() {
        let now = Instant::now();
        let mut body = RequestBody::new(10, WITHIN, now);
        assert_eq!(body.came(10, false, now), Ok(()));
        assert_eq!(body.came(1, true, now), Err(Rejection::BodyTooLarge));
    }
}
