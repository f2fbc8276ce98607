//! Logins as JWTs: HS256 and nothing else, each with an id by which it can be ended and the user's
//! epoch by which all can.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::user;

/// Signs and reads JWTs.
pub struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    lifetime: Duration,
}

/// What a JWT says. Times are seconds since 1970.
#[derive(Serialize, Deserialize)]
pub struct Claims {
    /// The user's id.
    pub sub: Uuid,
    pub username: String,
    pub iat: i64,
    pub exp: i64,
    pub jti: Uuid,
    /// The user's epoch when it was issued.
    pub epoch: i64,
    /// When the person gave their password; in a login to the console, and in no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
}

impl Keys {
    /// Keys of this secret, for JWTs that last so long.
    pub fn new(secret: &str, lifetime: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            validation,
            lifetime,
        }
    }

    /// How long a JWT lasts.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A JWT for this user, to call the API with.
    pub fn issue(&self, user: &user::Model, now: DateTime<Utc>) -> String {
        self.sign(&self.claims(user, now))
    }

    /// A JWT for this user that logs a browser in to the console, and is worth nothing to the API.
    pub fn issue_console(&self, user: &user::Model, now: DateTime<Utc>) -> String {
        self.sign(&Claims { auth_time: Some(now.timestamp()), ..self.claims(user, now) })
    }

    /// The same JWT with all of its time before it.
    pub fn renew(&self, claims: Claims, now: DateTime<Utc>) -> String {
        self.sign(&Claims { exp: self.end(now), ..claims })
    }

    fn claims(&self, user: &user::Model, now: DateTime<Utc>) -> Claims {
        Claims {
            sub: user.id,
            username: user.username.clone(),
            iat: now.timestamp(),
            exp: self.end(now),
            jti: Uuid::new_v4(),
            epoch: user.epoch,
            auth_time: None,
        }
    }

    fn end(&self, now: DateTime<Utc>) -> i64 {
        now.timestamp().saturating_add(i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX))
    }

    fn sign(&self, claims: &Claims) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &self.encoding).expect("an HMAC key signs every claim")
    }

    /// What a JWT for the API says, if it was signed with this key and has not expired.
    pub fn read(&self, jwt: &str) -> Option<Claims> {
        self.verified(jwt).filter(|claims| claims.auth_time.is_none())
    }

    /// The same of a JWT for the console.
    pub fn read_console(&self, jwt: &str) -> Option<Claims> {
        self.verified(jwt).filter(|claims| claims.auth_time.is_some())
    }

    fn verified(&self, jwt: &str) -> Option<Claims> {
        decode::<Claims>(jwt, &self.decoding, &self.validation).ok().map(|read| read.claims)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use rust_decimal::Decimal;

    use super::*;

    fn keys(secret: &str) -> Keys {
        Keys::new(secret, Duration::from_secs(3600))
    }

    fn alice() -> user::Model {
        user::Model {
            id: Uuid::now_v7(),
            email: "alice@example.com".to_owned(),
            username: "alice".to_owned(),
            password_hash: String::new(),
            full_name: None,
            is_active: true,
            is_superuser: false,
            currency_balance: Decimal::ZERO,
            ledger_seq: 0,
            referral_code: "ABCDEFGHJKLM".to_owned(),
            referred_by: None,
            epoch: 3,
            created_at: Utc::now(),
            updated_at: Utc::now(),
            allowed_networks: Vec::new(),
            denied_networks: Vec::new(),
        }
    }

    #[test]
    fn a_jwt_reads_back_with_its_own_key_only() {
        let (alice, now) = (alice(), Utc::now());
        let jwt = keys("one secret of thirty-two bytes ..").issue(&alice, now);
        let claims = keys("one secret of thirty-two bytes ..").read(&jwt).expect("its own");
        assert_eq!((claims.sub, claims.epoch), (alice.id, 3));
        assert_eq!(claims.exp - claims.iat, 3600);
        assert!(keys("another secret of thirty-two bytes").read(&jwt).is_none());
    }

    #[test]
    fn an_expired_jwt_is_refused_to_the_second() {
        let keys = keys("one secret of thirty-two bytes ..");
        let jwt = keys.issue(&alice(), Utc::now() - chrono::Duration::seconds(3601));
        assert!(keys.read(&jwt).is_none());
    }

    #[test]
    fn no_algorithm_but_hs256_is_accepted() {
        let secret = "one secret of thirty-two bytes ..";
        let jwt = keys(secret).issue(&alice(), Utc::now());
        let body = jwt.split('.').nth(1).expect("a body");
        for algorithm in ["none", "None", "HS999"] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#));
            assert!(keys(secret).read(&format!("{header}.{body}.")).is_none(), "{algorithm}");
        }
        let claims = keys(secret).read(&jwt).expect("its own");
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let other = encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes()));
            assert!(keys(secret).read(&other.expect("signed")).is_none(), "{algorithm:?}");
        }
    }
}
