//! What the processes count and keep together: limits, failed logins, usage, keys of assertions,
//! turns.

use std::{borrow::Cow, time::Duration};

use uuid::Uuid;

use super::{Arg, Call, Script, optional, text};
use crate::{
    redis::{ACME_TURN, ASSERTION_KEYS, Limited, MOST_ASSERTION_KEYS, USAGE, attempts_key, events::Usage, rate_key},
    token::credential::Digest,
};

/// Counts what was spent of a limit; replies [`Spent`](crate::rate::Spent).
#[derive(Clone, Copy, Debug)]
pub struct Spend<'a> {
    pub limited: Limited<'a>,
    /// How long it takes until what is spent is unused again.
    pub cost: Duration,
    /// How much may be used in all; any amount if `None`, as for what was spent already.
    pub most: Option<Duration>,
}

impl Call for Spend<'_> {
    const SCRIPT: Script = Script::Spend;

    fn keys(&self) -> Vec<String> {
        vec![rate_key(self.limited)]
    }

    fn args(&self) -> Vec<Arg> {
        vec![text(self.cost.as_micros()), optional(self.most.map(|most| most.as_micros()))]
    }
}

/// Reports to the control plane what an edge saw. Replies how many events there were.
#[derive(Clone, Copy, Debug)]
pub struct ReportUsage<'a> {
    pub events: &'a [Usage],
}

impl Call for ReportUsage<'_> {
    const SCRIPT: Script = Script::ReportUsage;

    fn keys(&self) -> Vec<String> {
        vec![USAGE.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        self.events.iter().map(|event| Cow::Owned(event.encode())).collect()
    }
}

/// Publishes keys that assertions are verified with. Replies all that are published: in turn each
/// key, and for how many milliseconds more something may be verified with it.
#[derive(Clone, Copy, Debug)]
pub struct PublishKeys<'a> {
    /// Each key, and for how long something may be verified with it.
    pub keys: &'a [(String, Duration)],
}

impl Call for PublishKeys<'_> {
    const SCRIPT: Script = Script::PublishKeys;

    fn keys(&self) -> Vec<String> {
        vec![ASSERTION_KEYS.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        let keys = self.keys.iter().flat_map(|(key, lasts)| [text(key), text(lasts.as_millis())]);
        [text(MOST_ASSERTION_KEYS)].into_iter().chain(keys).collect()
    }
}

/// Ends the turn of an edge to order from an ACME authority. Replies 1 if it was its own, else 0.
#[derive(Clone, Copy, Debug)]
pub struct EndAcmeTurn {
    pub turn: Uuid,
}

impl Call for EndAcmeTurn {
    const SCRIPT: Script = Script::EndAcmeTurn;

    fn keys(&self) -> Vec<String> {
        vec![ACME_TURN.to_owned()]
    }

    fn args(&self) -> Vec<Arg> {
        vec![text(self.turn)]
    }
}

/// Reads what is kept of failed logins. Replies Redis' clock in milliseconds since 1970, and what
/// stands under each digest; empty where there is nothing.
#[derive(Clone, Copy, Debug)]
pub struct ReadAttempts<'a> {
    pub of: &'a [Digest],
}

impl Call for ReadAttempts<'_> {
    const SCRIPT: Script = Script::ReadAttempts;

    fn keys(&self) -> Vec<String> {
        self.of.iter().map(attempts_key).collect()
    }

    fn args(&self) -> Vec<Arg> {
        Vec::new()
    }
}

/// Replaces what is kept of failed logins: all of it, or nothing where any of it is no longer what
/// was read. Replies 1 if it was replaced, else 0.
#[derive(Clone, Copy, Debug)]
pub struct ReplaceAttempts<'a> {
    pub replacements: &'a [Replacement],
}

/// A value that takes another's place; `None` stands for no value.
#[derive(Clone, Debug)]
pub struct Replacement {
    pub of: Digest,
    pub read: Option<String>,
    pub new: Option<String>,
    /// How long the new one is kept.
    pub kept_for: Duration,
}

impl Call for ReplaceAttempts<'_> {
    const SCRIPT: Script = Script::ReplaceAttempts;

    fn keys(&self) -> Vec<String> {
        self.replacements.iter().map(|replacement| attempts_key(&replacement.of)).collect()
    }

    fn args(&self) -> Vec<Arg> {
        let replacements = self.replacements.iter();
        let each = |Replacement { read, new, kept_for, .. }: &Replacement| {
            [optional(read.as_ref()), optional(new.as_ref()), text(kept_for.as_millis().max(1))]
        };
        replacements.flat_map(each).collect()
    }
}
