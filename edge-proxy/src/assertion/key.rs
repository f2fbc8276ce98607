//! Ed25519 keys as JOSE has them: public ones as a JWK, private ones as what signs a JWT.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    digest::{self, SHA256},
    error::Unspecified,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Value, json};

/// What the signatures of one private key are verified with (RFC 8037). As text it is unpadded
/// URL-safe base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// A text that is not 32 bytes of unpadded URL-safe base64.
#[derive(Debug, thiserror::Error)]
#[error("not a public key")]
pub struct NotAKey;

impl PublicKey {
    /// Its name: the thumbprint of RFC 7638, whose JSON has exactly these members in this order.
    pub fn id(&self) -> String {
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{self}"}}"#);
        URL_SAFE_NO_PAD.encode(digest::digest(&SHA256, members.as_bytes()))
    }

    /// The key as a JWK (RFC 7517).
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": self.to_string(),
            "kid": self.id(),
            "alg": "EdDSA",
            "use": "sig",
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAKey)?;
        bytes.try_into().map(Self).map_err(|_| NotAKey)
    }
}

/// A private key, which lives in this process alone.
pub struct Key {
    pair: Ed25519KeyPair,
    pub public: PublicKey,
    /// The head of each JWT that it signs, as the JWT has it.
    head: String,
}

impl Key {
    /// Draws a new one.
    pub fn generate() -> Result<Self, Unspecified> {
        let pair = Ed25519KeyPair::generate()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().map_err(|_| Unspecified)?);
        let head = json!({ "alg": "EdDSA", "typ": "JWT", "kid": public.id() });
        Ok(Self { pair, public, head: URL_SAFE_NO_PAD.encode(head.to_string()) })
    }

    /// A JWT that says so (RFC 7515 §7.1).
    pub fn sign(&self, claims: &impl Serialize) -> String {
        let claims = serde_json::to_vec(claims).expect("claims of our own serialise");
        let signed = format!("{}.{}", self.head, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        // RFC 8037, appendix A.3.
        let key: PublicKey = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".parse().expect("a key");
        assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let jwk = key.jwk();
        assert_eq!((&jwk["x"], &jwk["kid"]), (&json!(key.to_string()), &json!(key.id())));
    }

    #[test]
    fn what_is_not_32_bytes_is_no_key() {
        let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for text in ["", &key[1..], &format!("{key}A"), &format!("{key}="), &key.replace('_', "/")] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_key_signs_is_verified_with_its_public_one_alone() {
        let (key, other) = (Key::generate().expect("a key"), Key::generate().expect("a key"));
        let jwt = key.sign(&json!({ "sub": "alice" }));
        let (signed, signature) = jwt.rsplit_once('.').expect("three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        let is_verified =
            |by: &PublicKey| UnparsedPublicKey::new(&ED25519, by.0).verify(signed.as_bytes(), &signature).is_ok();
        assert!(is_verified(&key.public) && !is_verified(&other.public));
    }
}
