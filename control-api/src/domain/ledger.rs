//! The one way that credits move: the balance and the ledger's line in one transaction, or neither.
//! The database checks that they agree once more when it commits.

use rust_decimal::Decimal;
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

/// A movement of credits.
pub struct Movement<'a> {
    pub kind: Kind,
    /// ZNC, never negative: what it does to the balance follows from what it is.
    pub amount: Decimal,
    pub description: &'a str,
    pub about: Subject,
}

/// What a movement is for.
#[derive(Clone, Copy, PartialEq)]
pub enum Subject {
    /// What its description says.
    Nothing,
    Token(Uuid),
    Bundle(Uuid),
    Payment(Uuid),
}

/// Takes the price of something from a balance; the new balance, or an error that tells what the
/// balance is.
pub async fn charge(tx: &db::Tx, user_id: Uuid, movement: &Movement<'_>) -> Result<Decimal, Error> {
    if let Some(balance) = post(tx, user_id, -movement.amount, movement).await? {
        return Ok(balance);
    }
    // Credit that came in between is found by looking again with the row locked.
    let user = user::find_for_update(tx, user_id).await?.ok_or(Error::UserNotFound)?;
    let charged = post(tx, user_id, -movement.amount, movement).await?;
    charged.ok_or(Error::InsufficientBalance { required: movement.amount, available: user.currency_balance })
}

/// Gives credits; the new balance.
pub async fn credit(tx: &db::Tx, user_id: Uuid, movement: &Movement<'_>) -> Result<Decimal, Error> {
    post(tx, user_id, movement.amount, movement).await?.ok_or(Error::BalanceTooLarge)
}

/// Sets the balance of an account that is locked, by an adjustment of as much as it takes.
pub async fn adjust(tx: &db::Tx, user: &user::Model, balance: Decimal, description: &str) -> Result<(), Error> {
    let change = balance - user.currency_balance;
    if change.is_zero() {
        return Ok(());
    }
    let movement = Movement { kind: Kind::Adjustment, amount: change.abs(), description, about: Subject::Nothing };
    post(tx, user.id, change, &movement).await?.ok_or(Error::BalanceTooLarge)?;
    Ok(())
}

/// Moves the balance by `change` and writes the line; the new balance, or `None` if it would leave
/// what a balance may be.
async fn post(tx: &db::Tx, user_id: Uuid, change: Decimal, movement: &Movement<'_>) -> Result<Option<Decimal>, Error> {
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
        kind: movement.kind.as_str(),
        description: movement.description,
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
