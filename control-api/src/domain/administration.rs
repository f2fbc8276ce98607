//! What superusers do to other people's accounts and tokens.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use shared::{
    net::address::Networks,
    token::credential::{Credential, Digest},
};
use uuid::Uuid;

use super::{
    Error,
    accounts::Session,
    audit::{self, Action, Actor, Origin, Resource},
    idempotency::Idempotent,
    ledger,
    passwords::Passwords,
    tokens::{self, Restriction},
};
use crate::{
    config::TokenHour,
    db::{self, access_token, idempotency_key, outbox, password_link, settings, user},
    domain::{login_throttle::LoginThrottle, unpublished::Unpublished},
};

/// A change to an account; `None` leaves a field as it is.
#[derive(Default)]
pub struct UserChange {
    pub is_active: Option<bool>,
    pub is_superuser: Option<bool>,
    /// In ZNC, never negative.
    pub balance: Option<Decimal>,
    /// From where alone the user's tokens may be used; from everywhere, if empty.
    pub allowed_networks: Option<Networks>,
    /// From where they may not be used, even if that is allowed.
    pub denied_networks: Option<Networks>,
    /// Why; kept with the change, and shown to the user with the ledger's line.
    pub reason: Option<String>,
}

/// How long a link that sets a password is good for.
const PASSWORD_LINK_HOURS: i64 = 24;

/// A link's code, shown once, and when it ends.
pub struct PasswordLink {
    pub code: Credential,
    pub expires_at: DateTime<Utc>,
}

/// Changes an account. Disabling it ends its logins and suspends its tokens; enabling it restores
/// them, as far as their time has not run out meanwhile.
pub async fn change_user(
    db: &db::Pool,
    hour: TokenHour,
    admin: &Session,
    id: Uuid,
    change: UserChange,
) -> Result<Unpublished<user::Model>, Error> {
    let tx = db::begin(db).await?;
    if change.is_active == Some(false) || change.is_superuser == Some(false) {
        let superusers = user::lock_active_superusers(&tx).await?;
        if superusers == [id] {
            return Err(Error::LastSuperuser);
        }
    }
    let before = user::find_for_update(&tx, id).await?.ok_or(Error::UserNotFound)?;
    let toggled = change.is_active.is_some_and(|is_active| is_active != before.is_active);
    if let Some(balance) = change.balance {
        ledger::adjust(&tx, &before, balance, change.reason.clone()).await?;
    }
    let after = user::Change {
        is_active: change.is_active,
        is_superuser: change.is_superuser,
        allowed_networks: change.allowed_networks,
        denied_networks: change.denied_networks,
        bump_epoch: toggled && before.is_active,
        ..Default::default()
    };
    let user = user::update(&tx, id, after).await?;
    let moved = before.allowed_networks != user.allowed_networks || before.denied_networks != user.denied_networks;
    let token_ids = if toggled || moved { access_token::touch_of_user(&tx, hour, id).await? } else { Vec::new() };
    outbox::push(&tx, &token_ids).await?;
    let details = changed(&before, &user, change.reason);
    audit::record(&tx, admin.by(), Action::ChangeUser, Resource::User(id), details).await?;
    tx.commit().await?;
    Ok(Unpublished::new(user, token_ids))
}

/// Moves a balance by an amount of ZNC, up or down, whatever else moves it meanwhile; the balance
/// that this came to.
pub async fn move_balance(
    db: &db::Pool,
    admin: &Session,
    id: Uuid,
    change: Decimal,
    reason: &str,
    once: &Idempotent<'_>,
) -> Result<Decimal, Error> {
    let tx = db::begin(db).await?;
    // Kept with the user whose balance it is, so that no second account is locked.
    if let Some(balance) = once.recall::<Decimal>(&tx, id).await? {
        return Ok(balance);
    }
    let before = user::find_for_update(&tx, id).await?.ok_or(Error::UserNotFound)?;
    let (available, balance) = (before.currency_balance, before.currency_balance + change);
    if balance < Decimal::ZERO {
        return Err(Error::InsufficientBalance { required: change.abs(), available });
    }
    ledger::adjust(&tx, &before, balance, Some(reason.to_owned())).await?;
    let after = user::find_for_update(&tx, id).await?.ok_or(Error::UserNotFound)?;
    let details = changed(&before, &after, Some(reason.to_owned()));
    audit::record(&tx, admin.by(), Action::ChangeUser, Resource::User(id), details).await?;
    once.keep(&tx, id, &after.currency_balance).await?;
    tx.commit().await?;
    Ok(after.currency_balance)
}

/// What is another now, old and new, and why.
fn changed(before: &user::Model, after: &user::Model, reason: Option<String>) -> Value {
    let fields = [
        ("is_active", json!(before.is_active), json!(after.is_active)),
        ("is_superuser", json!(before.is_superuser), json!(after.is_superuser)),
        ("currency_balance", json!(before.currency_balance), json!(after.currency_balance)),
        ("allowed_networks", json!(before.allowed_networks), json!(after.allowed_networks)),
        ("denied_networks", json!(before.denied_networks), json!(after.denied_networks)),
    ];
    let changed = fields.into_iter().filter(|(_, old, new)| old != new);
    let mut details: Map<String, Value> =
        changed.map(|(name, old, new)| (name.to_owned(), json!({ "old": old, "new": new }))).collect();
    details.insert("reason".to_owned(), json!(reason));
    Value::Object(details)
}

/// Forgets an account's failed logins, so that it can be tried again at once from wherever; an
/// address that failed too often with many accounts still waits. The line is written only if they
/// are forgotten.
pub async fn clear_login_failures(
    db: &db::Pool,
    login_throttle: &LoginThrottle,
    admin: &Session,
    user_id: Uuid,
) -> Result<(), Error> {
    let tx = db::begin(db).await?;
    let user = user::find_for_update(&tx, user_id).await?.ok_or(Error::UserNotFound)?;
    audit::record(&tx, admin.by(), Action::ClearLoginFailures, Resource::User(user_id), json!({})).await?;
    login_throttle.clear(user_id, &user.password_hash).await?;
    Ok(tx.commit().await?)
}

/// Revokes a token, used or not, without a refund. Doing it again changes nothing.
pub async fn revoke_token(db: &db::Pool, admin: &Session, id: Uuid) -> Result<Unpublished<()>, Error> {
    let tx = db::begin(db).await?;
    let token = access_token::find_for_update(&tx, id).await?.ok_or(Error::TokenNotFound)?;
    if token.revoked_at.is_none() {
        access_token::revoke(&tx, id).await?;
        idempotency_key::erase_text(&tx, id).await?;
        outbox::push(&tx, &[id]).await?;
        let details = json!({ "user_id": token.user_id, "refund_amount": Decimal::ZERO });
        audit::record(&tx, admin.by(), Action::Revoke, Resource::Token(id), details).await?;
    }
    tx.commit().await?;
    Ok(Unpublished::new((), vec![id]))
}

/// Sets from where anybody's token may be used, as its owner may.
pub async fn restrict_token(
    db: &db::Pool,
    hour: TokenHour,
    admin: &Session,
    id: Uuid,
    to: Restriction,
) -> Result<Unpublished<access_token::Model>, Error> {
    let tx = db::begin(db).await?;
    let token = access_token::find_for_update(&tx, id).await?.ok_or(Error::TokenNotFound)?;
    let before = tokens::check_usable(token, hour, Utc::now())?;
    let token = tokens::restrict_locked(&tx, admin.by(), before, to).await?;
    tx.commit().await?;
    Ok(Unpublished::new(token, vec![id]))
}

/// Notes that Postgres was restored from a backup; the epoch that begins with it. What was
/// published before is then replaced, whatever its version.
pub async fn bump_epoch(db: &db::Pool, origin: &Origin) -> Result<i64, Error> {
    let tx = db::begin(db).await?;
    let epoch = settings::bump_epoch(&tx).await?;
    let by = Actor { user_id: None, origin };
    audit::record(&tx, by, Action::BumpEpoch, Resource::Settings, json!({ "epoch": epoch })).await?;
    tx.commit().await?;
    Ok(epoch)
}

/// Draws a link by which a user sets a password once; the user's earlier link ends.
pub async fn draw_password_link(
    db: &db::Pool,
    admin: &Session,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<PasswordLink, Error> {
    let link =
        PasswordLink { code: Credential::generate(), expires_at: now + chrono::Duration::hours(PASSWORD_LINK_HOURS) };
    let tx = db::begin(db).await?;
    user::find_for_update(&tx, user_id).await?.ok_or(Error::UserNotFound)?;
    password_link::replace(&tx, user_id, &link.code.digest(), link.expires_at).await?;
    let details = json!({ "expires_at": link.expires_at });
    audit::record(&tx, admin.by(), Action::DrawPasswordLink, Resource::User(user_id), details).await?;
    tx.commit().await?;
    Ok(link)
}

/// Sets a password by a link, and uses it up; ends every JWT issued before. The user is locked
/// before the link, as everywhere; and nothing is hashed for a code that was made up.
pub async fn redeem_password_link(
    db: &db::Pool,
    passwords: &Passwords,
    code: &Digest,
    password: &str,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let user_id = password_link::find_user(db, code, now).await?.ok_or(Error::UnknownPasswordLink)?;
    let password_hash = passwords.hash(password).await?;
    let tx = db::begin(db).await?;
    user::find_for_update(&tx, user_id).await?.ok_or(Error::UnknownPasswordLink)?;
    if !password_link::redeem(&tx, code, now).await? {
        return Err(Error::UnknownPasswordLink);
    }
    let change = user::Change { password_hash: Some(password_hash), bump_epoch: true, ..Default::default() };
    user::update(&tx, user_id, change).await?;
    let by = Actor { user_id: Some(user_id), origin };
    audit::record(&tx, by, Action::ChangePassword, Resource::User(user_id), json!({ "by": "link" })).await?;
    Ok(tx.commit().await?)
}
