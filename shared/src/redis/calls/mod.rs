//! The call of every script: which keys and arguments it gets, in which order. Nobody else puts
//! them together.
//!
//! A call says what it means by its fields; the head of its script says what the script does with
//! them. What a script replies is read by the type that its call names.

mod admission;
mod counting;
mod publication;

use std::borrow::Cow;

pub use admission::{
    Activate, Admit, EndAdmission, Find, LeaseOutcome, LeasePolicy, Mode, Release, Renewal, TakeOver, Taking,
};
pub use counting::{EndAcmeTurn, PublishKeys, ReadAttempts, ReplaceAttempts, Replacement, ReportUsage, Spend};
pub use publication::{
    Bar, BeginRebuild, Credential, CutState, FinishRebuild, Lifetime, Pulse, Put, PutCredentials, TokenState,
};

/// An argument of a script. A text that is always the same is not copied.
pub type Arg = Cow<'static, str>;

/// What a script is given.
pub trait Call {
    /// The script that is called.
    const SCRIPT: Script;

    /// What it may read and write, as `KEYS`.
    fn keys(&self) -> Vec<String>;

    /// The rest, as `ARGV`.
    fn args(&self) -> Vec<Arg>;
}

/// Declares the scripts: each by its name and the file of its text.
macro_rules! scripts {
    ($($name:ident $traced:literal $file:literal,)*) => {
        /// A script that Redis runs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Script { $($name),* }

        impl Script {
            /// Each of them; a script's place here is `script as usize`.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in traces.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $traced),* }
            }

            /// Its text.
            pub fn lua(self) -> &'static str {
                match self { $(Self::$name => include_str!(concat!("../scripts/", $file))),* }
            }
        }
    };
}

scripts! {
    Activate "ACTIVATE" "activate.lua",
    Admit "ADMIT" "admit.lua",
    Bar "BAR" "bar.lua",
    BeginRebuild "BEGIN_REBUILD" "begin_rebuild.lua",
    EndAcmeTurn "END_ACME_TURN" "end_acme_turn.lua",
    Find "FIND" "find.lua",
    FinishRebuild "FINISH_REBUILD" "finish_rebuild.lua",
    PublishKeys "PUBLISH_KEYS" "publish_keys.lua",
    Pulse "PULSE" "pulse.lua",
    Put "PUT" "put.lua",
    PutCredentials "PUT_CREDENTIALS" "put_credentials.lua",
    ReadAttempts "READ_ATTEMPTS" "read_attempts.lua",
    Release "RELEASE" "release.lua",
    ReplaceAttempts "REPLACE_ATTEMPTS" "replace_attempts.lua",
    ReportUsage "TELL" "tell.lua",
    EndAdmission "END_ADMISSION" "end_admission.lua",
    Spend "SPEND" "spend.lua",
    TakeOver "TAKE_OVER" "take_over.lua",
}

/// An argument that may be missing: empty then.
fn optional<T: ToString>(value: Option<T>) -> Arg {
    value.map_or(Cow::Borrowed(""), |value| Cow::Owned(value.to_string()))
}

/// An argument that is written out.
fn text(value: impl ToString) -> Arg {
    Cow::Owned(value.to_string())
}

/// An argument that is `1` or `0`.
fn flag(is_set: bool) -> Arg {
    Cow::Borrowed(if is_set { "1" } else { "0" })
}

#[cfg(test)]
mod tests;
