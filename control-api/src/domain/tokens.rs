//! Selling access tokens, and what their owners do with them. Lock order, here and wherever both
//! are written: the user, then the token.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{
    net::address::{AddressFilter, Networks},
    redis::replies::CutReason,
    token::{
        credential::{Credential, Handover},
        scope::Scope,
        state::{Standing, State},
    },
};
use uuid::Uuid;

use super::{
    Error,
    accounts::Session,
    audit::{self, Action, Actor, Resource},
    idempotency::Idempotent,
    ledger::{self, Details, Movement, Subject},
    referrals,
};
use crate::{
    config::{TokenHour, prices::Prices},
    db::{self, access_token, credential, idempotency_key, outbox, user},
    domain::unpublished::Unpublished,
};

/// The most hours that a token may last in all: ten years.
const LONGEST_HOURS: i32 = 87_600;

/// A token with its text, which is known only now.
pub struct Issued {
    pub token: access_token::Model,
    pub text: Credential,
}

/// A token that got more hours, as it stood then.
#[derive(Serialize, Deserialize)]
pub struct Extended {
    pub token: access_token::Model,
    pub at: DateTime<Utc>,
}

/// From where a token may be used from now on; `None` leaves a list as it is.
pub struct Restriction {
    pub allowed: Option<Networks>,
    pub denied: Option<Networks>,
}

/// On what terms more hours are sold.
pub struct Terms<'a> {
    pub prices: &'a Prices,
    pub hour: TokenHour,
    pub now: DateTime<Utc>,
}

/// How a token stands with the control plane.
pub fn standing(revoked_at: Option<DateTime<Utc>>, user_is_active: bool) -> Standing {
    match (revoked_at, user_is_active) {
        (Some(_), _) => Standing::Revoked,
        (None, false) => Standing::Suspended,
        (None, true) => Standing::Live,
    }
}

/// The state of a token, as people see it.
pub fn state(token: &access_token::Model, hour: TokenHour, user_is_active: bool, now: DateTime<Utc>) -> State {
    State::at(
        now.timestamp_millis(),
        standing(token.revoked_at, user_is_active),
        token.activated_at.map(|at| at.timestamp_millis()),
        token.duration(hour).num_milliseconds(),
    )
}

/// Sells a token: the price leaves the balance and the token exists, or neither.
pub async fn purchase(
    db: &db::Pool,
    prices: &Prices,
    buyer: &Session,
    duration_hours: i64,
    scope: Scope,
    once: Option<&Idempotent<'_>>,
) -> Result<Unpublished<Issued>, Error> {
    let price = prices.of(duration_hours).ok_or(Error::InvalidDuration)?;
    let id = Uuid::now_v7();
    let tx = db::begin(db).await?;
    if let Some(once) = once
        && let Some(token) = once.recall::<access_token::Model>(&tx, buyer.user.id).await?
    {
        let text = once.recall_text(&tx, buyer.user.id, token.id).await?;
        let id = token.id;
        return Ok(Unpublished::new(Issued { token, text }, vec![id]));
    }
    let hours = sold_hours(duration_hours)?;
    let details = Details::TokenPurchase { duration_hours: hours, scope: scope.to_string() };
    let movement = Movement { amount: price, details, about: Subject::Token(id) };
    let balance = ledger::charge(&tx, buyer.user.id, &movement).await?;
    let Issued { token, text } = issue(&tx, id, buyer.user.id, hours, scope.as_str(), price).await?;
    referrals::promise(&tx, &buyer.user, price, &[id]).await?;
    outbox::push(&tx, &[id]).await?;
    let details = json!({
        "duration_hours": duration_hours,
        "scope": scope.as_str(),
        "cost_znc": price,
        "new_balance": balance,
    });
    audit::record(&tx, buyer.by(), Action::Purchase, Resource::Token(id), details).await?;
    if let Some(once) = once {
        once.keep(&tx, buyer.user.id, &token).await?;
        once.keep_text(&tx, buyer.user.id, id, &text).await?;
    }
    tx.commit().await?;
    Ok(Unpublished::new(Issued { token, text }, vec![id]))
}

/// Draws a text for a token that was paid for, and writes both. Nothing tells Redis yet.
pub async fn issue(
    tx: &db::Tx,
    id: Uuid,
    user_id: Uuid,
    duration_hours: i32,
    scope: &str,
    cost: Decimal,
) -> Result<Issued, Error> {
    let text = Credential::generate();
    let token = access_token::insert(tx, id, user_id, text.prefix(), scope, duration_hours, cost).await?;
    credential::insert(tx, &text.digest(), id, token.credential_gen, credential::Kind::Text).await?;
    Ok(Issued { token, text })
}

/// Sells a token more hours. Its credentials and its open connections go on.
pub async fn extend(
    db: &db::Pool,
    terms: &Terms<'_>,
    owner: &Session,
    id: Uuid,
    duration_hours: i64,
    once: Option<&Idempotent<'_>>,
) -> Result<Unpublished<Extended>, Error> {
    let price = terms.prices.of(duration_hours).ok_or(Error::InvalidDuration)?;
    let tx = db::begin(db).await?;
    if let Some(once) = once
        && let Some(extended) = once.recall(&tx, owner.user.id).await?
    {
        return Ok(Unpublished::new(extended, vec![id]));
    }
    user::find_for_update(&tx, owner.user.id).await?;
    let before = usable(&tx, terms.hour, owner.user.id, id, terms.now).await?;
    let hours = sold_hours(duration_hours)?;
    if before.duration_hours.saturating_add(hours) > LONGEST_HOURS {
        return Err(Error::TokenTooLong);
    }
    let details = Details::TokenExtension { duration_hours: hours };
    let movement = Movement { amount: price, details, about: Subject::Token(id) };
    let balance = ledger::charge(&tx, owner.user.id, &movement).await?;
    let token = access_token::extend(&tx, id, hours, price).await?;
    outbox::push(&tx, &[id]).await?;
    let details = json!({
        "duration_hours": { "old": before.duration_hours, "new": token.duration_hours },
        "cost_znc": price,
        "new_balance": balance,
    });
    audit::record(&tx, owner.by(), Action::Extend, Resource::Token(id), details).await?;
    let extended = Extended { token, at: terms.now };
    if let Some(once) = once {
        once.keep(&tx, owner.user.id, &extended).await?;
    }
    tx.commit().await?;
    Ok(Unpublished::new(extended, vec![id]))
}

/// Gives a token a new text; everything that named it before opens nothing any more.
pub async fn rotate(
    db: &db::Pool,
    hour: TokenHour,
    owner: &Session,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Unpublished<Issued>, Error> {
    let text = Credential::generate();
    let tx = db::begin(db).await?;
    let before = usable(&tx, hour, owner.user.id, id, now).await?;
    let token = access_token::rotate(&tx, id, text.prefix()).await?;
    credential::end_older_than(&tx, id, token.credential_gen).await?;
    idempotency_key::erase_text(&tx, id).await?;
    credential::insert(&tx, &text.digest(), id, token.credential_gen, credential::Kind::Text).await?;
    outbox::push(&tx, &[id]).await?;
    let details = json!({ "token_prefix": { "old": before.token_prefix, "new": token.token_prefix } });
    audit::record(&tx, owner.by(), Action::Rotate, Resource::Token(id), details).await?;
    tx.commit().await?;
    Ok(Unpublished::new(Issued { token, text }, vec![id]))
}

/// Draws a credential for one browser. Postgres gets its digest; what joins it again travels in two
/// halves.
pub async fn open(
    db: &db::Pool,
    hour: TokenHour,
    owner: &Session,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Unpublished<Handover>, Error> {
    let handover = Handover::generate();
    let tx = db::begin(db).await?;
    let token = usable(&tx, hour, owner.user.id, id, now).await?;
    let digest = handover.secret().digest();
    credential::insert(&tx, &digest, id, token.credential_gen, credential::Kind::Browser).await?;
    credential::end_surplus_browsers(&tx, id).await?;
    outbox::push(&tx, &[id]).await?;
    audit::record(&tx, owner.by(), Action::Open, Resource::Token(id), json!({})).await?;
    tx.commit().await?;
    Ok(Unpublished::new(handover, vec![id]))
}

/// Takes a token away from whichever device holds it: what is open there ends, and the next device
/// that comes has it.
pub async fn release_device(
    db: &db::Pool,
    hour: TokenHour,
    owner: &Session,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Unpublished<()>, Error> {
    let tx = db::begin(db).await?;
    usable(&tx, hour, owner.user.id, id, now).await?;
    access_token::cut(&tx, id, CutReason::TakenOver, None).await?;
    outbox::push(&tx, &[id]).await?;
    audit::record(&tx, owner.by(), Action::ReleaseDevice, Resource::Token(id), json!({})).await?;
    tx.commit().await?;
    Ok(Unpublished::new((), vec![id]))
}

/// Sets from where a token of one's own may be used. What is open from elsewhere ends.
pub async fn restrict(
    db: &db::Pool,
    hour: TokenHour,
    owner: &Session,
    id: Uuid,
    to: Restriction,
    now: DateTime<Utc>,
) -> Result<Unpublished<access_token::Model>, Error> {
    let tx = db::begin(db).await?;
    let before = usable(&tx, hour, owner.user.id, id, now).await?;
    let token = restrict_locked(&tx, owner.by(), before, to).await?;
    tx.commit().await?;
    Ok(Unpublished::new(token, vec![id]))
}

/// Sets from where a token that is locked may be used; one that says so already stays as it is.
pub async fn restrict_locked(
    tx: &db::Tx,
    by: Actor<'_>,
    before: access_token::Model,
    to: Restriction,
) -> Result<access_token::Model, Error> {
    let stands = db::address_filter(&before.allowed_networks, &before.denied_networks)?;
    let allowed = to.allowed.unwrap_or_else(|| stands.allowed.clone());
    let to = AddressFilter { allowed, denied: to.denied.unwrap_or_else(|| stands.denied.clone()) };
    if to == stands {
        return Ok(before);
    }
    let token = access_token::restrict(tx, before.id, &to).await?;
    outbox::push(tx, &[token.id]).await?;
    let fields = [
        ("allowed_networks", before.allowed_networks, &token.allowed_networks),
        ("denied_networks", before.denied_networks, &token.denied_networks),
    ];
    let changed = fields.into_iter().filter(|(_, old, new)| old != *new);
    let details: Value = changed.map(|(name, old, new)| (name.to_owned(), json!({ "old": old, "new": new }))).collect();
    audit::record(tx, by, Action::Restrict, Resource::Token(token.id), details).await?;
    Ok(token)
}

/// A token of this user. Another's is not told from one that is not there.
pub async fn find(db: &db::Pool, user_id: Uuid, id: Uuid) -> Result<access_token::Owned, Error> {
    let found = access_token::find(db, id).await?;
    found.filter(|owned| owned.token.user_id == user_id).ok_or(Error::TokenNotFound)
}

/// Locks a token of this user that is ready or active.
async fn usable(
    tx: &db::Tx,
    hour: TokenHour,
    user_id: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<access_token::Model, Error> {
    let token = access_token::find_of_user_for_update(tx, user_id, id).await?;
    check_usable(token.ok_or(Error::TokenNotFoundOrRevoked)?, hour, now)
}

/// The same token, if it is not over and nobody has asked for its refund.
pub fn check_usable(
    token: access_token::Model,
    hour: TokenHour,
    now: DateTime<Utc>,
) -> Result<access_token::Model, Error> {
    if token.refund_requested_at.is_some() {
        return Err(Error::TokenNotFoundOrRevoked);
    }
    match state(&token, hour, true, now) {
        State::Ready | State::Active => Ok(token),
        State::Expired => Err(Error::TokenExpired),
        State::Revoked | State::Suspended => Err(Error::TokenNotFoundOrRevoked),
    }
}

fn sold_hours(duration_hours: i64) -> Result<i32, Error> {
    i32::try_from(duration_hours).map_err(|_| Error::InvalidDuration)
}
