//! The bonus of the user who recommended a buyer: a tenth of the buyer's first purchase, if that is
//! large enough, token by token as each is activated, so that what is given back never leaves a
//! bonus behind.
//!
//! The purchase decides who gets what. The transaction that records an activation makes the token's
//! share due; paying is a step of its own, because a task that records activations locks tokens,
//! many at once, and users are locked before tokens. What is due is a row, so a process that dies
//! loses nothing, and the row is marked in the transaction that pays: once.

use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use super::{
    Error,
    audit::{self, Action, Actor, Origin, Resource},
    ledger::{self, Details, Movement, Subject},
};
use crate::{
    config::prices,
    db::{
        self, access_token,
        referral::{self, NewBonus, Share},
        user,
    },
};

/// What a first purchase must cost at least, in ZNC.
const QUALIFYING: Decimal = Decimal::ONE_HUNDRED;
/// What of it is the bonus, in percent.
const BONUS_PERCENT: Decimal = Decimal::TEN;
/// How many users are looked at, and shares paid, in one go.
const AT_ONCE: u64 = 100;

/// Notes the bonus for what was just sold, if it is the buyer's first purchase and large enough.
/// The charge holds the buyer's row, so that of purchases at once each sees those before it.
pub async fn promise(tx: &db::Tx, buyer: &user::Model, price: Decimal, token_ids: &[Uuid]) -> Result<(), Error> {
    let Some(referrer_id) = buyer.referred_by else { return Ok(()) };
    if price < QUALIFYING || access_token::has_others(tx, buyer.id, token_ids).await? {
        return Ok(());
    }
    let amount = bonus(price);
    let shares = token_ids.iter().copied().zip(prices::shares(amount, token_ids.len())).collect();
    let bonus = NewBonus { user_id: buyer.id, referrer_id, price, amount };
    Ok(referral::insert(tx, &bonus, shares).await?)
}

fn bonus(price: Decimal) -> Decimal {
    prices::to_cents(price * BONUS_PERCENT / Decimal::ONE_HUNDRED)
}

/// Pays every share that is due; how many. What cannot be paid to one user holds up no other's.
pub async fn pay_due(db: &db::Pool) -> Result<usize, Error> {
    let (mut after, mut paid) = (Uuid::nil(), 0);
    loop {
        let owed = referral::list_owed(db, after, AT_ONCE).await?;
        for &referrer_id in &owed {
            match pay(db, referrer_id).await {
                Ok(shares) => paid += shares,
                Err(Error::Database(error)) if db::is_passing(&error) => return Err(Error::Database(error)),
                Err(error) => tracing::error!(user_id = %referrer_id, %error, "a referral bonus cannot be paid"),
            }
        }
        match owed.last() {
            Some(&last) => after = last,
            None => return Ok(paid),
        }
    }
}

/// Pays one user some of the shares that are due; how many. What is left over is found by the next
/// round.
async fn pay(db: &db::Pool, referrer_id: Uuid) -> Result<usize, Error> {
    let tx = db::begin(db).await?;
    user::find_for_update(&tx, referrer_id).await?.ok_or(Error::UserNotFound)?;
    let shares = referral::take_owed(&tx, referrer_id, AT_ONCE).await?;
    for Share { token_id, amount, user_id, username } in &shares {
        let details = Details::ReferralBonus { username: username.clone() };
        let movement = Movement { amount: *amount, details, about: Subject::Token(*token_id) };
        let balance = ledger::credit(&tx, referrer_id, &movement).await?;
        let details =
            json!({ "amount": amount, "new_balance": balance, "referred_user_id": user_id, "token_id": token_id });
        let by = Actor { user_id: None, origin: &Origin::default() };
        audit::record(&tx, by, Action::ReferralBonus, Resource::User(referrer_id), details).await?;
    }
    tx.commit().await?;
    Ok(shares.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bonus_is_a_tenth_rounded_half_to_even() {
        for (price, expected) in
            [("100.00", "10.00"), ("153.00", "15.30"), ("100.05", "10.00"), ("100.15", "10.02"), ("100.16", "10.02")]
        {
            let [price, expected]: [Decimal; 2] = [price, expected].map(|amount| amount.parse().expect("an amount"));
            assert_eq!(bonus(price), expected, "{price}");
        }
    }
}
