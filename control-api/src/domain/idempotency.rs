//! Calls that may be repeated: the same key and the same request are the same call, and get the
//! same answer.
//!
//! The first to come holds the user's row, so that others with its key wait and find what came of
//! it. What failed leaves nothing. A token's text is kept sealed, so that a reader of the
//! database cannot use it.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use shared::token::credential::{Credential, Digest};
use uuid::Uuid;

use super::Error;
use crate::db::{
    self,
    idempotency_key::{self, Name},
    user,
};

/// What the key of texts is derived for; another use of the secret has another.
const LABEL: &[u8] = b"zenzefi-gateway/sealed-token-text/1";
const KEY_BYTES: usize = 32;

/// Seals token texts, each for the one call that it was answered to.
pub struct Sealer(RandomizedNonceKey);

struct KeyBytes;

impl KeyType for KeyBytes {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

impl Sealer {
    /// With a key derived from this secret.
    pub fn new(secret: &str) -> Self {
        let mut key = [0; KEY_BYTES];
        let derived = Salt::new(HKDF_SHA256, b"").extract(secret.as_bytes());
        let filled = derived.expand(&[LABEL], KeyBytes).and_then(|derived| derived.fill(&mut key));
        filled.expect("a key of 32 bytes can be derived");
        Self(RandomizedNonceKey::new(&AES_256_GCM, &key).expect("a key of 32 bytes"))
    }

    /// Nonce, then what was sealed, then its tag.
    fn seal(&self, name: Name<'_>, text: &Credential) -> Vec<u8> {
        let mut sealed = text.expose().as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(bound_to(name)), &mut sealed);
        let nonce = nonce.expect("a short text can be sealed");
        [nonce.as_ref().as_slice(), &sealed].concat()
    }

    /// `None` if it was sealed with another key or for another call.
    fn open(&self, name: Name<'_>, sealed: &[u8]) -> Option<Credential> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let text = self.0.open_in_place(nonce, Aad::from(bound_to(name)), &mut sealed).ok()?;
        Credential::parse_token_text(std::str::from_utf8(text).ok()?)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer(hidden)")
    }
}

/// A key never holds a zero byte, nor does an endpoint.
fn bound_to(name: Name<'_>) -> Vec<u8> {
    [name.user_id.as_bytes().as_slice(), name.endpoint.as_bytes(), &[0], name.key.as_bytes()].concat()
}

/// A call that may be repeated.
pub struct Idempotent<'a> {
    pub sealer: &'a Sealer,
    pub endpoint: &'static str,
    /// As the client drew it.
    pub key: &'a str,
    /// What is asked for.
    pub request: Value,
}

impl Idempotent<'_> {
    fn name(&self, user_id: Uuid) -> Name<'_> {
        Name { user_id, endpoint: self.endpoint, key: self.key }
    }

    fn digest(&self) -> Digest {
        Digest::of(self.request.to_string().as_bytes())
    }

    /// What came of this call if it was made before. Locks the user, so that of calls at once each
    /// sees the one before.
    pub async fn recall<T: DeserializeOwned>(&self, tx: &db::Tx, user_id: Uuid) -> Result<Option<T>, Error> {
        user::find_for_update(tx, user_id).await?;
        let Some(kept) = idempotency_key::find(tx, self.name(user_id)).await? else { return Ok(None) };
        if kept.digest != self.digest().as_bytes() {
            return Err(Error::KeyReused);
        }
        let outcome = serde_json::from_value(kept.outcome);
        outcome.map(Some).map_err(|error| Error::Database(db::Error::Json(error.to_string())))
    }

    /// The text of a token that this call sold before.
    pub async fn recall_text(&self, tx: &db::Tx, user_id: Uuid, token_id: Uuid) -> Result<Credential, Error> {
        let name = self.name(user_id);
        let sealed = idempotency_key::find_text(tx, name, token_id).await?;
        sealed.and_then(|sealed| self.sealer.open(name, &sealed)).ok_or(Error::TextGone)
    }

    /// Keeps what came of this call, to be told again.
    pub async fn keep(&self, tx: &db::Tx, user_id: Uuid, outcome: &impl Serialize) -> Result<(), Error> {
        let outcome =
            serde_json::to_value(outcome).map_err(|error| Error::Database(db::Error::Json(error.to_string())))?;
        Ok(idempotency_key::insert(tx, self.name(user_id), &self.digest(), outcome).await?)
    }

    /// Keeps the text of a token that this call sold; after [`Self::keep`].
    pub async fn keep_text(&self, tx: &db::Tx, user_id: Uuid, token_id: Uuid, text: &Credential) -> Result<(), Error> {
        let name = self.name(user_id);
        Ok(idempotency_key::insert_text(tx, name, token_id, self.sealer.seal(name, text)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_is_opened_by_its_own_secret_for_its_own_call_alone() {
        let (user_id, text) = (Uuid::new_v4(), Credential::generate());
        let name = Name { user_id, endpoint: "purchase", key: "k" };
        let sealer = Sealer::new("a secret");
        let sealed = sealer.seal(name, &text);
        assert!(!sealed.windows(16).any(|part| text.expose().as_bytes().starts_with(part)));
        assert_eq!(sealer.open(name, &sealed).expect("it was sealed for this").digest(), text.digest());
        for other in
            [Name { user_id: Uuid::new_v4(), ..name }, Name { endpoint: "extend", ..name }, Name { key: "l", ..name }]
        {
            assert!(sealer.open(other, &sealed).is_none());
        }
        assert!(Sealer::new("another secret").open(name, &sealed).is_none());
        let mut damaged = sealed.clone();
        damaged[NONCE_LEN] ^= 1;
        assert!(sealer.open(name, &damaged).is_none() && sealer.open(name, &sealed[..5]).is_none());
        assert_ne!(sealer.seal(name, &text), sealed, "each has a nonce of its own");
    }
}
