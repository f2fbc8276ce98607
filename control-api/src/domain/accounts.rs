//! Accounts as their owners see them: registering, logging in and out, changing one's own profile.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{
    Error,
    audit::{self, Action, Actor, Origin, Resource},
    jwt::Claims,
    passwords::{HashSlot, Passwords},
};
use crate::{
    db::{self, password_link, revoked_jwt, user},
    domain::login_throttle::{Account, Attempt, Lock, LoginThrottle},
};

/// An account to open. The texts were checked where they came in.
pub struct Registration {
    pub email: String,
    pub username: String,
    pub password: String,
    pub full_name: Option<String>,
}

/// Somebody who wants to log in. The texts are as they came.
pub struct Login {
    pub email: String,
    pub password: String,
    pub origin: Origin,
}

/// A login in use: whose, and by which JWT.
#[derive(Clone)]
pub struct Session {
    pub user: user::Model,
    pub jti: Uuid,
    pub expires_at: DateTime<Utc>,
    /// Where it is used from now.
    pub origin: Origin,
}

impl Session {
    /// Who does what is done in this session.
    pub fn by(&self) -> Actor<'_> {
        Actor { user_id: Some(self.user.id), origin: &self.origin }
    }
}

/// A change to one's own profile; `None` leaves a field as it is.
#[derive(Default)]
pub struct ProfileChange {
    pub full_name: Option<Option<String>>,
    pub password: Option<PasswordChange>,
}

pub struct PasswordChange {
    pub current: String,
    pub new: String,
}

/// Characters of a referral code: none that are mistaken for each other, and 32 of them, so that
/// five random bits pick one.
const REFERRAL_ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const REFERRAL_CHARS: usize = 12;

/// Opens an account. Under any number of concurrent tries, one e-mail and one username are given
/// once.
pub async fn register(
    db: &db::Pool,
    passwords: &Passwords,
    registration: &Registration,
    referral_code: Option<&str>,
    origin: &Origin,
) -> Result<user::Model, Error> {
    let referred_by = match referral_code {
        Some(code) => {
            let referrer = user::find_by_referral_code(db, code).await?;
            Some(referrer.ok_or(Error::UnknownReferralCode)?.id)
        }
        None => None,
    };
    open(db, passwords, registration, referred_by, false, origin).await
}

/// Opens an account with or without admin rights, for the operator.
pub async fn create(
    db: &db::Pool,
    passwords: &Passwords,
    registration: &Registration,
    is_superuser: bool,
    origin: &Origin,
) -> Result<user::Model, Error> {
    open(db, passwords, registration, None, is_superuser, origin).await
}

async fn open(
    db: &db::Pool,
    passwords: &Passwords,
    registration: &Registration,
    referred_by: Option<Uuid>,
    is_superuser: bool,
    origin: &Origin,
) -> Result<user::Model, Error> {
    let password_hash = passwords.hash(&registration.password).await?;
    let tx = db::begin(db).await?;
    let new = user::NewUser {
        email: &registration.email,
        username: &registration.username,
        password_hash: &password_hash,
        full_name: registration.full_name.as_deref(),
        is_superuser,
        referral_code: &draw_referral_code(),
        referred_by,
    };
    match user::insert(&tx, &new).await.map_err(taken) {
        // Of two that are taken the e-mail is told, whichever of them Postgres came upon first.
        Err(Error::UsernameTaken) => {
            tx.rollback().await?;
            let holder = user::find_by_email(db, &registration.email).await?;
            Err(if holder.is_some() { Error::EmailTaken } else { Error::UsernameTaken })
        }
        inserted => {
            let user = inserted?;
            let details =
                json!({ "username": user.username, "is_superuser": is_superuser, "referred_by": referred_by });
            let by = Actor { user_id: Some(user.id), origin };
            audit::record(&tx, by, Action::Register, Resource::User(user.id), details).await?;
            tx.commit().await?;
            Ok(user)
        }
    }
}

/// A name that somebody else took first, as a fact.
fn taken(error: db::Error) -> Error {
    if db::violates(&error, "users_email_key") {
        Error::EmailTaken
    } else if db::violates(&error, "users_username_key") {
        Error::UsernameTaken
    } else {
        Error::Database(error)
    }
}

fn draw_referral_code() -> String {
    let mut bytes = [0; REFERRAL_CHARS];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness, or nothing here is safe");
    bytes.map(|byte| char::from(REFERRAL_ALPHABET[usize::from(byte % 32)])).iter().collect()
}

/// Whom an e-mail and a password let in. A wrong password, an unknown e-mail and a disabled user
/// are told apart neither by the answer nor by its time, nor by when there were too many of them.
pub async fn log_in(
    db: &db::Pool,
    passwords: &Passwords,
    login_throttle: &LoginThrottle,
    login: Login,
) -> Result<user::Model, Error> {
    let user = user::find_by_email(db, &login.email).await?;
    let account = match &user {
        Some(user) => Account::Known(user.id, &user.password_hash),
        None => Account::Unknown(&login.email),
    };
    let who = login_throttle.who(login.origin.ip_address, &account);
    let store = login_throttle.look(&who).await?;
    let turn = passwords.turn().await?;
    let (db, counted) = (db.clone(), login_throttle.clone());
    let judged = login_throttle.undisturbed(async move {
        let attempt = counted.start(who, store).await?;
        judge(&db, turn, attempt, user, &login).await
    });
    judged.await.ok_or(Error::Busy)??.ok_or(Error::WrongCredentials)
}

/// Checks the password of a user who is logged in already, before something that a stolen login
/// must not do. It is counted and written down as a login is, so that nobody can guess on.
pub async fn confirm(
    db: &db::Pool,
    passwords: &Passwords,
    login_throttle: &LoginThrottle,
    session: &Session,
    password: &str,
) -> Result<(), Error> {
    let login =
        Login { email: session.user.email.clone(), password: password.to_owned(), origin: session.origin.clone() };
    match log_in(db, passwords, login_throttle, login).await {
        Ok(_) => Ok(()),
        Err(Error::WrongCredentials) => Err(Error::WrongPassword),
        Err(error) => Err(error),
    }
}

/// Whom the password lets in, counted and written down.
async fn judge(
    db: &db::Pool,
    turn: HashSlot,
    attempt: Attempt,
    user: Option<user::Model>,
    login: &Login,
) -> Result<Option<user::Model>, Error> {
    let matches = match turn.verify(&login.password, user.as_ref().map(|user| user.password_hash.as_str())).await {
        Ok(matches) => matches,
        Err(error) => {
            attempt.given_up().await;
            return Err(error);
        }
    };
    let user_id = user.as_ref().map(|user| user.id);
    let logged_in = user.filter(|user| matches && user.is_active);
    let lock = if logged_in.is_some() {
        attempt.succeeded().await;
        None
    } else {
        attempt.failed().await
    };
    // The same is written for each, or the time would tell them apart; what was typed in place of
    // an e-mail may be a password.
    let action = if logged_in.is_some() { Action::Login } else { Action::LoginFailed };
    let (by, on) = (Actor { user_id, origin: &login.origin }, Resource::Login(user_id));
    let tx = db::begin(db).await?;
    audit::record(&tx, by, action, on, json!({})).await?;
    if let Some(Lock { failures, lasts }) = lock {
        let details = json!({ "failures": failures, "seconds": lasts.as_secs() });
        audit::record(&tx, by, Action::LoginLocked, on, details).await?;
    }
    tx.commit().await?;
    Ok(logged_in)
}

/// Whose a JWT is that says so. A disabled user is told so before anything is said of the JWT's
/// epoch.
pub async fn authenticate(db: &db::Pool, claims: &Claims, origin: Origin) -> Result<Session, Error> {
    let user = user::find_by_jwt(db, claims.sub, claims.jti).await?.ok_or(Error::InvalidJwt)?;
    if !user.is_active {
        return Err(Error::InactiveUser);
    }
    if user.epoch != claims.epoch {
        return Err(Error::InvalidJwt);
    }
    let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or(Error::InvalidJwt)?;
    Ok(Session { user, jti: claims.jti, expires_at, origin })
}

/// Ends the JWT of this session, and every one of its id that ends by then.
pub async fn log_out(db: &db::Pool, session: &Session, by: DateTime<Utc>) -> Result<(), Error> {
    let tx = db::begin(db).await?;
    revoked_jwt::insert(&tx, session.jti, by.max(session.expires_at)).await?;
    let details = json!({ "all": false });
    audit::record(&tx, session.by(), Action::Logout, Resource::User(session.user.id), details).await?;
    Ok(tx.commit().await?)
}

/// Ends every JWT of this session's user.
pub async fn log_out_everywhere(db: &db::Pool, session: &Session) -> Result<(), Error> {
    let tx = db::begin(db).await?;
    user::update(&tx, session.user.id, user::Change { bump_epoch: true, ..Default::default() }).await?;
    let details = json!({ "all": true });
    audit::record(&tx, session.by(), Action::Logout, Resource::User(session.user.id), details).await?;
    Ok(tx.commit().await?)
}

/// Changes one's own profile. A new password ends every JWT issued before.
pub async fn change_profile(
    db: &db::Pool,
    passwords: &Passwords,
    session: &Session,
    change: ProfileChange,
) -> Result<user::Model, Error> {
    let password_hash = match &change.password {
        Some(password) => {
            if !passwords.verify(&password.current, &session.user.password_hash).await? {
                return Err(Error::WrongPassword);
            }
            Some(passwords.hash(&password.new).await?)
        }
        None => None,
    };
    let tx = db::begin(db).await?;
    if password_hash.is_some() {
        // Two changes at once: the second one's current password is no longer that.
        let stands = user::find_for_update(&tx, session.user.id).await?.ok_or(Error::UserNotFound)?;
        if stands.password_hash != session.user.password_hash {
            return Err(Error::WrongPassword);
        }
        password_link::delete_of_user(&tx, session.user.id).await?;
    }
    let bump_epoch = password_hash.is_some();
    if bump_epoch {
        audit::record(&tx, session.by(), Action::ChangePassword, Resource::User(session.user.id), json!({})).await?;
    }
    let renamed = change.full_name.is_some();
    let change = user::Change { full_name: change.full_name, password_hash, bump_epoch, ..Default::default() };
    let user = user::update(&tx, session.user.id, change).await?;
    if renamed {
        let details = json!({ "full_name": { "old": session.user.full_name, "new": user.full_name } });
        audit::record(&tx, session.by(), Action::ChangeProfile, Resource::User(user.id), details).await?;
    }
    tx.commit().await?;
    Ok(user)
}

/// Sets the password of the user with this e-mail, for the operator; ends every JWT
/// issued before.
pub async fn set_password(
    db: &db::Pool,
    passwords: &Passwords,
    email: &str,
    password: &str,
    origin: &Origin,
) -> Result<(), Error> {
    let password_hash = passwords.hash(password).await?;
    let user = user::find_by_email(db, email).await?.ok_or(Error::UserNotFound)?;
    let tx = db::begin(db).await?;
    let change = user::Change { password_hash: Some(password_hash), bump_epoch: true, ..Default::default() };
    user::update(&tx, user.id, change).await?;
    password_link::delete_of_user(&tx, user.id).await?;
    let by = Actor { user_id: None, origin };
    audit::record(&tx, by, Action::ChangePassword, Resource::User(user.id), json!({})).await?;
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referral_code_has_12_characters_and_none_that_are_mistaken_for_each_other() {
        let code = draw_referral_code();
        assert_eq!(code.len(), 12);
        assert!(code.chars().all(|char| char.is_ascii_alphanumeric() && !"0O1I".contains(char)), "{code}");
        assert_ne!(code, draw_referral_code());
    }
}
