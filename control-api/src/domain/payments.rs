//! Paying for credits. A payment is noted before its provider is asked for it, and what the
//! provider says of it is taken in once: however often, late or out of order that comes, from a
//! notice or from asking. Lock order: the user, then the payment.
//!
//! `succeeded`, `canceled` and `expired` are final. So nothing ends by our clock alone: a payment
//! whose time is over expires only when its provider says that it will not be paid, or if nobody
//! was ever told where to pay it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::json;
use uuid::Uuid;

use super::{
    Error,
    accounts::Session,
    audit::{self, Action, Actor, Origin, Resource},
    idempotency::Idempotent,
    ledger::{self, Details, Movement, Subject},
};
use crate::{
    db::{
        self,
        payment::{self, End, NewPayment},
        user,
    },
    payments::{self, Notice, Order, PaymentState, Provider, ProviderPayment, WebhookOutcome},
};

/// Payments that are asked about at once.
const CHECKED_AT_ONCE: u64 = 10;

/// What payments are taken with.
pub struct Payments {
    pub provider: Provider,
    pub rub_per_znc: Decimal,
    /// How long a payment may take before it counts as expired.
    pub lifetime: Duration,
}

impl Payments {
    /// What an amount of ZNC costs in roubles, to the kopeck; `None` if that is nothing.
    fn price(&self, amount_znc: Decimal) -> Option<Decimal> {
        let price = (amount_znc * self.rub_per_znc).round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven);
        (price > Decimal::ZERO).then_some(price)
    }

    fn new_payment<'a>(
        &'a self,
        payer: &Session,
        amount_znc: Decimal,
        return_url: Option<&'a str>,
        now: DateTime<Utc>,
    ) -> Result<NewPayment<'a>, Error> {
        let lifetime = TimeDelta::from_std(self.lifetime).unwrap_or(TimeDelta::MAX);
        Ok(NewPayment {
            id: Uuid::now_v7(),
            user_id: payer.user.id,
            provider: self.provider.name(),
            amount_znc,
            amount_rub: self.price(amount_znc).ok_or(Error::AmountTooSmall)?,
            return_url,
            expires_at: now + lifetime,
        })
    }
}

/// A payment that its payer can be sent to.
pub struct Started {
    pub id: Uuid,
    /// Where it is paid.
    pub url: String,
    pub amount_znc: Decimal,
    pub amount_rub: Decimal,
}

/// Notes a payment, then has the provider make it. Repeated, it has the provider make the same one.
pub async fn start(
    db: &db::Pool,
    payments: &Payments,
    payer: &Session,
    amount_znc: Decimal,
    return_url: &str,
    once: Option<&Idempotent<'_>>,
) -> Result<Started, Error> {
    let now = Utc::now();
    let new = payments.new_payment(payer, amount_znc, Some(return_url), now)?;
    let tx = db::begin(db).await?;
    if let Some(once) = once
        && let Some(id) = once.recall(&tx, payer.user.id).await?
    {
        let noted = payment::find(&tx, id).await?.ok_or(Error::ProviderUnavailable)?;
        tx.rollback().await?;
        return make(db, payments, noted, now).await;
    }
    let noted = payment::insert(&tx, &new).await?;
    let details = json!({
        "provider": noted.provider,
        "amount_znc": noted.amount_znc,
        "amount_rub": noted.amount_rub,
    });
    audit::record(&tx, payer.by(), Action::StartPayment, Resource::Payment(noted.id), details).await?;
    if let Some(once) = once {
        once.keep(&tx, payer.user.id, &noted.id).await?;
    }
    tx.commit().await?;
    make(db, payments, noted, now).await
}

/// Has the provider make a payment that was noted, unless it has.
async fn make(db: &db::Pool, payments: &Payments, noted: payment::Model, now: DateTime<Utc>) -> Result<Started, Error> {
    let is_to_make = noted.provider_payment_id.is_none() && noted.is_pending() && now < noted.expires_at;
    let payment = if is_to_make {
        if noted.provider != payments.provider.name() {
            return Err(Error::ProviderUnavailable);
        }
        let description = format!("{:.2} ZNC", noted.amount_znc);
        let order = Order {
            id: noted.id,
            amount_rub: noted.amount_rub,
            return_url: noted.return_url.as_deref().unwrap_or_default(),
            description: &description,
        };
        let made = payments.provider.make(&order).await.map_err(unavailable)?;
        let tx = db::begin(db).await?;
        payment::record_made(&tx, noted.id, &made.id, &made.url).await?;
        // The first notice counts.
        let stands = payment::find(&tx, noted.id).await?;
        tx.commit().await?;
        stands.ok_or(Error::ProviderUnavailable)?
    } else {
        noted
    };
    let payment::Model { id, amount_znc, amount_rub, confirmation_url, .. } = payment;
    let url = confirmation_url.ok_or(Error::ProviderUnavailable)?;
    Ok(Started { id, url, amount_znc, amount_rub })
}

/// Gives credits that nobody pays for, as a payment that succeeds at once; the new balance. For a
/// provider that takes no money.
pub async fn grant(db: &db::Pool, payments: &Payments, payer: &Session, amount_znc: Decimal) -> Result<Decimal, Error> {
    let new = payments.new_payment(payer, amount_znc, None, Utc::now())?;
    let tx = db::begin(db).await?;
    user::find_for_update(&tx, payer.user.id).await?;
    let noted = payment::insert(&tx, &new).await?;
    let balance = end(&tx, &noted, End::Succeeded, &payer.origin).await?;
    tx.commit().await?;
    Ok(balance.unwrap_or(payer.user.currency_balance))
}

/// Takes in what a notice is worth; whether it changed anything. One that cannot be believed now
/// may be sent again.
pub async fn take_notice(
    db: &db::Pool,
    payments: &Payments,
    notice: &Notice<'_>,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let heard = payments.provider.hear(notice, now).map_err(|unverified| {
        tracing::warn!(%unverified, "refused a payment notice");
        Error::NoticeUnverified
    })?;
    let id = match &heard {
        WebhookOutcome::OfNoConcern => return Ok(false),
        WebhookOutcome::Truth(told) => &told.id,
        WebhookOutcome::Hint(id) => id,
    };
    let payment = payment::find_of_provider(db, payments.provider.name(), id).await?.ok_or(Error::NoticeUnverified)?;
    let told = match heard {
        WebhookOutcome::Truth(told) => Some(told),
        _ => payments.provider.ask(id).await.map_err(unavailable)?,
    };
    let told = told.filter(|told| is_about(told, &payment)).ok_or(Error::NoticeUnverified)?;
    match outcome(Some(told.standing), now >= payment.expires_at) {
        Some(end) => settle(db, &payment, end, origin).await,
        None => Ok(false),
    }
}

/// Asks the provider about some of the pending payments that it is time to ask about; how many
/// ended. What fails is due again later.
pub async fn reconcile(db: &db::Pool, payments: &Payments, now: DateTime<Utc>) -> Result<usize, Error> {
    let tx = db::begin(db).await?;
    let due = payment::take_due(&tx, payments.provider.name(), CHECKED_AT_ONCE).await?;
    tx.commit().await?;
    let checked = join_all(due.iter().map(|payment| check(db, payments, payment, now))).await;
    let mut ended = 0;
    for (payment, checked) in due.iter().zip(checked) {
        match checked {
            Ok(has_ended) => ended += usize::from(has_ended),
            Err(error) => tracing::warn!(%error, payment_id = %payment.id, "a payment could not be checked"),
        }
    }
    Ok(ended)
}

/// Finds out how a payment stands; whether it ended.
async fn check(
    db: &db::Pool,
    payments: &Payments,
    payment: &payment::Model,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let is_overdue = now >= payment.expires_at;
    let Some(id) = &payment.provider_payment_id else {
        if is_overdue {
            return settle(db, payment, End::Expired, &Origin::default()).await;
        }
        make(db, payments, payment.clone(), now).await?;
        return Ok(false);
    };
    let told = payments.provider.ask(id).await.map_err(unavailable)?;
    if told.as_ref().is_some_and(|told| !is_about(told, payment)) {
        return Err(Error::NoticeUnverified);
    }
    match outcome(told.map(|told| told.standing), is_overdue) {
        Some(end) => settle(db, payment, end, &Origin::default()).await,
        None => Ok(false),
    }
}

/// How a payment ends that stands so with its provider; `None` there means that the provider does
/// not know it.
fn outcome(standing: Option<PaymentState>, is_overdue: bool) -> Option<End> {
    match (standing, is_overdue) {
        (Some(PaymentState::Succeeded), _) => Some(End::Succeeded),
        (Some(PaymentState::Canceled), false) => Some(End::Canceled),
        (Some(PaymentState::Canceled) | None, true) => Some(End::Expired),
        (Some(PaymentState::Pending), _) | (None, false) => None,
    }
}

/// Whether what was told is about this very payment: name, amount and currency.
fn is_about(told: &ProviderPayment, payment: &payment::Model) -> bool {
    let is_about = payment.provider_payment_id.as_ref() == Some(&told.id)
        && told.amount == payment.amount_rub
        && told.currency == payments::CURRENCY;
    if !is_about {
        tracing::error!(payment_id = %payment.id, "the provider tells of a payment otherwise than it was asked for");
    }
    is_about
}

/// Ends a payment, unless it has ended or was made meanwhile; whether it did.
async fn settle(db: &db::Pool, seen: &payment::Model, how: End, origin: &Origin) -> Result<bool, Error> {
    let tx = db::begin(db).await?;
    user::find_for_update(&tx, seen.user_id).await?;
    let Some(payment) = payment::find_for_update(&tx, seen.id).await? else { return Ok(false) };
    if !payment.is_pending() {
        if how == End::Succeeded && payment.status != End::Succeeded.as_str() {
            tracing::error!(payment_id = %payment.id, status = payment.status, "a payment that had ended was paid");
        }
        return Ok(false);
    }
    if payment.provider_payment_id != seen.provider_payment_id {
        return Ok(false);
    }
    end(&tx, &payment, how, origin).await?;
    tx.commit().await?;
    tracing::info!(payment_id = %payment.id, status = how.as_str(), "a payment ended");
    Ok(true)
}

/// Ends a payment that is pending, its user locked; the new balance if it was credited.
async fn end(tx: &db::Tx, payment: &payment::Model, how: End, origin: &Origin) -> Result<Option<Decimal>, Error> {
    payment::end(tx, payment.id, how).await?;
    let balance = match how {
        End::Succeeded => {
            let about = Subject::Payment(payment.id);
            let movement = Movement { amount: payment.amount_znc, details: Details::TopUp, about };
            Some(ledger::credit(tx, payment.user_id, &movement).await?)
        }
        End::Canceled | End::Expired => None,
    };
    let details = json!({
        "provider": payment.provider,
        "status": { "old": payment.status, "new": how.as_str() },
        "amount_znc": payment.amount_znc,
        "amount_rub": payment.amount_rub,
        "new_balance": balance,
    });
    let by = Actor { user_id: Some(payment.user_id), origin };
    audit::record(tx, by, Action::SettlePayment, Resource::Payment(payment.id), details).await?;
    Ok(balance)
}

fn unavailable(error: payments::Unavailable) -> Error {
    tracing::warn!(%error, "no answer from the payment provider");
    Error::ProviderUnavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_providers_word_ends_a_payment() {
        for is_overdue in [false, true] {
            assert_eq!(
                outcome(Some(PaymentState::Succeeded), is_overdue),
                Some(End::Succeeded),
                "late is paid all the same"
            );
            assert_eq!(outcome(Some(PaymentState::Pending), is_overdue), None);
        }
        assert_eq!(outcome(Some(PaymentState::Canceled), false), Some(End::Canceled));
        assert_eq!(outcome(Some(PaymentState::Canceled), true), Some(End::Expired));
        assert_eq!(outcome(None, false), None);
        assert_eq!(outcome(None, true), Some(End::Expired));
    }
}
