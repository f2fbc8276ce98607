//! The audit log: every line is written in the transaction that it tells of.

use std::net::IpAddr;

use serde_json::Value;
use uuid::Uuid;

use super::Error;
use crate::db::{
    self,
    audit_log::{self, NewLine},
};

/// Where an action came from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub ip_address: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

/// Who does something, and from where.
#[derive(Clone, Copy)]
pub struct Actor<'a> {
    /// `None` where nobody is known: a login that failed, an operator's command, the program
    /// itself.
    pub user_id: Option<Uuid>,
    pub origin: &'a Origin,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Register,
    Login,
    LoginFailed,
    LoginLocked,
    ClearLoginFailures,
    Logout,
    ChangeProfile,
    ChangePassword,
    DrawPasswordLink,
    Purchase,
    Extend,
    StartPayment,
    SettlePayment,
    Refund,
    Revoke,
    Rotate,
    Open,
    ReleaseDevice,
    Restrict,
    ChangeUser,
    EndSession,
    BumpEpoch,
    CreateBundle,
    ChangeBundle,
    DeleteBundle,
    ReferralBonus,
}

impl Action {
    pub const ALL: [Self; 26] = [
        Self::Register,
        Self::Login,
        Self::LoginFailed,
        Self::LoginLocked,
        Self::ClearLoginFailures,
        Self::Logout,
        Self::ChangeProfile,
        Self::ChangePassword,
        Self::DrawPasswordLink,
        Self::Purchase,
        Self::Extend,
        Self::StartPayment,
        Self::SettlePayment,
        Self::Refund,
        Self::Revoke,
        Self::Rotate,
        Self::Open,
        Self::ReleaseDevice,
        Self::Restrict,
        Self::ChangeUser,
        Self::EndSession,
        Self::BumpEpoch,
        Self::CreateBundle,
        Self::ChangeBundle,
        Self::DeleteBundle,
        Self::ReferralBonus,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::LoginLocked => "login_locked",
            Self::ClearLoginFailures => "clear_login_failures",
            Self::Logout => "logout",
            Self::ChangeProfile => "change_profile",
            Self::ChangePassword => "change_password",
            Self::DrawPasswordLink => "draw_password_link",
            Self::Purchase => "purchase",
            Self::Extend => "extend",
            Self::StartPayment => "start_payment",
            Self::SettlePayment => "settle_payment",
            Self::Refund => "refund",
            Self::Revoke => "revoke",
            Self::Rotate => "rotate",
            Self::Open => "open",
            Self::ReleaseDevice => "release_device",
            Self::Restrict => "restrict",
            Self::ChangeUser => "change_user",
            Self::EndSession => "end_session",
            Self::BumpEpoch => "bump_epoch",
            Self::CreateBundle => "create_bundle",
            Self::ChangeBundle => "change_bundle",
            Self::DeleteBundle => "delete_bundle",
            Self::ReferralBonus => "referral_bonus",
        }
    }
}

/// What it was done to.
#[derive(Clone, Copy, Debug)]
pub enum Resource {
    User(Uuid),
    /// An attempt to log in, as whom if there is such a user.
    Login(Option<Uuid>),
    Token(Uuid),
    Payment(Uuid),
    Session(Uuid),
    Bundle(Uuid),
    Settings,
}

impl Origin {
    /// An operator on the command line.
    pub fn command_line() -> Self {
        Self { user_agent: Some("control-api on the command line".to_owned()), ..Self::default() }
    }
}

impl Resource {
    /// What each is called.
    pub const KINDS: [&str; 6] = ["user", "token", "payment", "session", "bundle", "settings"];

    pub fn kind(self) -> &'static str {
        match self {
            Self::User(_) | Self::Login(_) => "user",
            Self::Token(_) => "token",
            Self::Payment(_) => "payment",
            Self::Session(_) => "session",
            Self::Bundle(_) => "bundle",
            Self::Settings => "settings",
        }
    }

    pub fn id(self) -> Option<Uuid> {
        match self {
            Self::User(id) | Self::Token(id) | Self::Payment(id) | Self::Session(id) | Self::Bundle(id) => Some(id),
            Self::Login(id) => id,
            Self::Settings => None,
        }
    }
}

/// Writes a line. `details` hold what changed, old and new, and never a secret.
pub async fn record(tx: &db::Tx, by: Actor<'_>, action: Action, on: Resource, details: Value) -> Result<(), Error> {
    let line = NewLine {
        user_id: by.user_id,
        action: action.as_str(),
        resource_type: on.kind(),
        resource_id: on.id(),
        details,
        ip_address: by.origin.ip_address.map(|address| address.to_canonical().to_string()),
        user_agent: by.origin.user_agent.as_deref(),
        request_id: by.origin.request_id.as_deref(),
    };
    Ok(audit_log::insert(tx, line).await?)
}
