//! Which contents Redis has, and how far its change feed reaches: by that a reader knows what it
//! may have missed.

use std::{fmt, str::FromStr};

use crate::malformed::{Malformed, number, optional};

/// Which contents Redis has, and how far the change feed reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Redis holds all that Postgres knew when this very server was filled.
    pub is_whole: bool,
    pub contents: Contents,
    /// When no change was waiting to be published, in milliseconds of Redis' clock since 1970.
    pub caught_up_at_ms: Option<i64>,
    /// Redis' clock at this answer, in milliseconds since 1970.
    pub now_ms: i64,
    /// The oldest change that is still there.
    pub first_change: Option<StreamId>,
    /// The last id that the feed gave, whether its entry is still there or not; `None` if there is
    /// no feed.
    pub last_change: Option<StreamId>,
    /// An entry of the feed was removed, ever.
    pub has_removed: bool,
}

/// What tells one filling of Redis from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    run_id: String,
    epoch: String,
    build: String,
}

impl Contents {
    /// Names the filling, of whichever server: there is none twice. Empty if there was none.
    pub fn build(&self) -> &str {
        &self.build
    }
}

impl Pulse {
    /// Reads the reply of [`crate::redis::calls::Pulse`].
    pub fn parse(reply: &[String]) -> Result<Self, Malformed> {
        let [whole, run_id, epoch, build, caught_up_at, now, first, last, removed] = reply else {
            return Err(Malformed);
        };
        Ok(Self {
            is_whole: whole == "1",
            contents: Contents { run_id: run_id.clone(), epoch: epoch.clone(), build: build.clone() },
            caught_up_at_ms: optional(caught_up_at)?,
            now_ms: number(now)?,
            first_change: optional(first)?,
            last_change: optional(last)?,
            has_removed: removed == "1",
        })
    }

    /// Whether a reader that had seen everything up to `from`, and has now read on, may have missed
    /// an entry: one that was trimmed before it was read. (`max-deleted-entry-id` knows of single
    /// deletions only; trimming does not set it.)
    pub fn may_have_trimmed_after(&self, from: StreamId) -> bool {
        match (self.first_change, self.last_change) {
            // There was no feed then: all of it is still there, or not.
            _ if from == StreamId::default() => self.has_removed,
            (Some(first), _) => first > from,
            (None, Some(last)) => last > from,
            (None, None) => from > StreamId::default(),
        }
    }
}

/// The id of a stream's entry: milliseconds of Redis' clock since 1970, and a number among those of
/// that millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    pub at_ms: u64,
    pub sequence: u64,
}

impl FromStr for StreamId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (at_ms, sequence) = text.split_once('-').ok_or(Malformed)?;
        Ok(Self { at_ms: number(at_ms)?, sequence: number(sequence)? })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at_ms, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_knows_whether_something_was_trimmed_before_it_read_it() {
        let id = |at_ms| StreamId { at_ms, sequence: 0 };
        let pulse_of = |first: &str, last: &str, removed: &str| {
            let reply = ["1", "a", "1", "b", "", "5", first, last, removed].map(str::to_owned);
            Pulse::parse(&reply).expect("a pulse")
        };
        let pulse = |first, last| pulse_of(first, last, "1");
        assert!(!pulse("3-0", "9-0").may_have_trimmed_after(id(3)));
        assert!(pulse("4-0", "9-0").may_have_trimmed_after(id(3)));
        assert!(pulse("", "9-0").may_have_trimmed_after(id(3)));
        assert!(!pulse("", "9-0").may_have_trimmed_after(id(9)));
        assert!(pulse("", "").may_have_trimmed_after(id(9)), "another stream");
        assert!(!pulse_of("4-0", "9-0", "0").may_have_trimmed_after(id(0)), "the feed's very first entries");
        assert!(pulse_of("4-0", "9-0", "1").may_have_trimmed_after(id(0)));
    }
}
