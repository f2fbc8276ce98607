//! The one way that credits move: the balance and the ledger's line in one transaction, or neither.
//! The database checks that they agree once more when it commits.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::Error;
use crate::db::{
    self,
    transaction::{self, Difference, NewLine},
    user,
};

/// Users that are checked at once.
const CHECKED_AT_ONCE: u64 = 500;
/// Differing users that are named.
const NAMED: usize = 100;

/// Why credits moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Deposit,
    Purchase,
    Refund,
    ReferralBonus,
    Adjustment,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Deposit, Self::Purchase, Self::Refund, Self::ReferralBonus, Self::Adjustment];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Purchase => "purchase",
            Self::Refund => "refund",
            Self::ReferralBonus => "referral_bonus",
            Self::Adjustment => "adjustment",
        }
    }
}

/// What credits moved for: the line of the ledger keeps it, and each language words it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Details {
    TopUp,
    TokenPurchase {
        duration_hours: i32,
        scope: String,
    },
    TokenExtension {
        duration_hours: i32,
    },
    /// Of a token that was never used.
    TokenRefund {
        duration_hours: i32,
    },
    BundlePurchase {
        name: String,
        token_count: usize,
    },
    /// Of somebody who registered by one's code.
    ReferralBonus {
        username: String,
    },
    /// An administrator set the balance, for the reason that they gave, if any.
    Adjustment {
        reason: Option<String>,
    },
}

impl Details {
    pub fn kind(&self) -> Kind {
        match self {
            Self::TopUp => Kind::Deposit,
            Self::TokenPurchase { .. } | Self::TokenExtension { .. } | Self::BundlePurchase { .. } => Kind::Purchase,
            Self::TokenRefund { .. } => Kind::Refund,
            Self::ReferralBonus { .. } => Kind::ReferralBonus,
            Self::Adjustment { .. } => Kind::Adjustment,
        }
    }

    /// In English, as the API tells it: part of the contract with its clients.
    pub fn description(&self) -> String {
        match self {
            Self::TopUp => "Top-up".to_owned(),
            Self::TokenPurchase { duration_hours, scope } => format!("Token purchase: {duration_hours}h ({scope})"),
            Self::TokenExtension { duration_hours } => format!("Token extension: {duration_hours}h"),
            Self::TokenRefund { duration_hours } => format!("Token refund: {duration_hours}h (not activated)"),
            Self::BundlePurchase { name, token_count } => format!("Bundle purchase: {name} ({token_count} tokens)"),
            Self::ReferralBonus { username } => format!("Referral bonus: {username}"),
            Self::Adjustment { reason: Some(reason) } => reason.clone(),
            Self::Adjustment { reason: None } => "Balance set by an administrator".to_owned(),
        }
    }

    /// What a line keeps. `None` for a line of a program that kept less, or that knew more.
    pub fn of(line: &transaction::Model) -> Option<Self> {
        serde_json::from_value(line.details.clone()?).ok()
    }
}

/// A movement of credits.
pub struct Movement {
    /// ZNC, never negative: what it does to the balance follows from what it is.
    pub amount: Decimal,
    pub details: Details,
    pub about: Subject,
}

/// What a movement is for.
#[derive(Clone, Copy, PartialEq)]
pub enum Subject {
    /// What its details say.
    Nothing,
    Token(Uuid),
    Bundle(Uuid),
    Payment(Uuid),
}

/// Takes the price of something from a balance; the new balance, or an error that tells what the
/// balance is.
pub async fn charge(tx: &db::Tx, user_id: Uuid, movement: &Movement) -> Result<Decimal, Error> {
    if let Some(balance) = post(tx, user_id, -movement.amount, movement).await? {
        return Ok(balance);
    }
    // Credit that came in between is found by looking again with the row locked.
    let user = user::find_for_update(tx, user_id).await?.ok_or(Error::UserNotFound)?;
    let charged = post(tx, user_id, -movement.amount, movement).await?;
    charged.ok_or(Error::InsufficientBalance { required: movement.amount, available: user.currency_balance })
}

/// Gives credits; the new balance.
pub async fn credit(tx: &db::Tx, user_id: Uuid, movement: &Movement) -> Result<Decimal, Error> {
    post(tx, user_id, movement.amount, movement).await?.ok_or(Error::BalanceTooLarge)
}

/// Sets the balance of an account that is locked, by an adjustment of as much as it takes.
pub async fn adjust(tx: &db::Tx, user: &user::Model, balance: Decimal, reason: Option<String>) -> Result<(), Error> {
    let change = balance - user.currency_balance;
    if change.is_zero() {
        return Ok(());
    }
    let details = Details::Adjustment { reason };
    let movement = Movement { amount: change.abs(), details, about: Subject::Nothing };
    post(tx, user.id, change, &movement).await?.ok_or(Error::BalanceTooLarge)?;
    Ok(())
}

/// Moves the balance by `change` and writes the line; the new balance, or `None` if it would leave
/// what a balance may be.
async fn post(tx: &db::Tx, user_id: Uuid, change: Decimal, movement: &Movement) -> Result<Option<Decimal>, Error> {
    let Some(user::Moved { balance, ledger_seq }) = user::move_balance(tx, user_id, change).await? else {
        return Ok(None);
    };
    let (mut token_id, mut bundle_id, mut payment_id) = (None, None, None);
    match movement.about {
        Subject::Nothing => {}
        Subject::Token(id) => token_id = Some(id),
        Subject::Bundle(id) => bundle_id = Some(id),
        Subject::Payment(id) => payment_id = Some(id),
    }
    let line = NewLine {
        user_id,
        seq: ledger_seq,
        amount: change,
        balance_after: balance,
        kind: movement.details.kind().as_str(),
        description: &movement.details.description(),
        details: json!(movement.details),
        token_id,
        bundle_id,
        payment_id,
    };
    transaction::insert(tx, &line).await?;
    Ok(Some(balance))
}

/// What a check of every user's ledger found.
pub struct Verified {
    pub users: u64,
    /// How many users differ.
    pub differing: u64,
    /// The first of those.
    pub differences: Vec<Difference>,
}

/// Adds every user's ledger up anew and compares it with the balance.
pub async fn verify(db: &db::Pool) -> Result<Verified, Error> {
    let mut verified = Verified { users: 0, differing: 0, differences: Vec::new() };
    let mut after = Uuid::nil();
    loop {
        let (checked, last, differing) = transaction::differences(db, after, CHECKED_AT_ONCE).await?;
        verified.users += checked;
        verified.differing += differing.len() as u64;
        let room = NAMED - verified.differences.len();
        verified.differences.extend(differing.into_iter().take(room));
        match last {
            Some(last) => after = last,
            None => return Ok(verified),
        }
    }
}
