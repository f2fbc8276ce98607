//! Credentials: what a request carries to name an access token. They are shown once and stored
//! nowhere; everything that stores, caches or compares works on the [`Digest`], so that no leak of
//! Redis, Postgres or a log opens the upstream.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Characters of a token's text: 48 random bytes in unpadded URL-safe base64.
pub const TOKEN_TEXT_CHARS: usize = 64;
/// Characters of a browser's secret: 32 bytes in unpadded URL-safe base64.
pub const BROWSER_SECRET_CHARS: usize = 43;
/// Characters of a token's text that people may see afterwards.
pub const PREFIX_CHARS: usize = 8;

/// A secret that opens the upstream: a token's text, or the secret that one browser was handed.
///
/// It has no `Display` and its `Debug` hides it; [`Credential::expose`] is the one way out, to be
/// called only where the secret is handed to its owner.
#[derive(Clone)]
pub struct Credential(String);

impl Credential {
    /// Draws the text of a new access token from the operating system's randomness.
    pub fn generate() -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::<48>()))
    }

    /// Reads a token's text: exactly 64 URL-safe characters.
    pub fn parse_token_text(text: &str) -> Option<Self> {
        Self::of_length(text, &[TOKEN_TEXT_CHARS])
    }

    /// Reads what a cookie or header may carry: a token's text or a browser's secret.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of_length(text, &[TOKEN_TEXT_CHARS, BROWSER_SECRET_CHARS])
    }

    fn of_length(text: &str, lengths: &[usize]) -> Option<Self> {
        let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (lengths.contains(&text.len()) && text.bytes().all(url_safe)).then(|| Self(text.to_owned()))
    }

    /// What is stored, cached and compared in its stead.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The first characters, for people to tell their tokens apart.
    pub fn prefix(&self) -> &str {
        &self.0[..PREFIX_CHARS]
    }

    /// The secret itself, to be handed to its owner and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(hidden)")
    }
}

/// SHA-256 of a secret. Equality of digests is equality of secrets, and comparing them tells an
/// attacker nothing about either, whatever the timing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digests any secret: a credential, a hand-over code.
    pub fn of(secret: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(Sha256::digest(secret).into())
    }

    /// Its first 64 bits, in hex.
    pub fn prefix(&self) -> String {
        hex::encode(&self.0[..8])
    }

    /// The 32 bytes, as stored in Postgres.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the 32 bytes stored in Postgres; `None` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}…)", hex::encode(&self.0[..4]))
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("not a digest")]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotADigest)?;
        Ok(Self(bytes))
    }
}

/// What hands an access token over to one browser: the code travels in a URL, the salt waits in
/// Redis, and only both together give the browser's secret. So neither a URL, nor a log, nor Redis
/// ever holds what opens the upstream.
#[derive(Clone)]
pub struct Handover {
    code: [u8; 32],
    salt: [u8; 32],
}

impl Handover {
    /// Draws a new code and salt.
    pub fn generate() -> Self {
        Self { code: random(), salt: random() }
    }

    /// Joins the code of a request and the salt that Redis kept; `None` where either is not 32
    /// bytes of URL-safe base64.
    pub fn join(code: &str, salt: &str) -> Option<Self> {
        Some(Self { code: decode32(code)?, salt: decode32(salt)? })
    }

    /// The code, for the URL that the browser opens.
    pub fn code(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.code)
    }

    /// The salt, as Redis keeps it.
    pub fn salt(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.salt)
    }

    /// Names the salt's key: the digest of the code as it stands in the URL.
    pub fn code_digest(code: &str) -> Digest {
        Digest::of(code.as_bytes())
    }

    /// The browser's credential: HMAC-SHA256 of the code under the salt.
    pub fn secret(&self) -> Credential {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.salt).expect("HMAC takes a key of any length");
        mac.update(&self.code);
        Credential(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handover(hidden)")
    }
}

fn decode32(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness, or nothing here is safe");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_text_is_64_url_safe_characters_and_reads_back() {
        let credential = Credential::generate();
        assert_eq!(credential.expose().len(), TOKEN_TEXT_CHARS);
        let read = Credential::parse_token_text(credential.expose()).expect("its own text");
        assert_eq!(read.digest(), credential.digest());
        assert_ne!(Credential::generate().digest(), credential.digest());
    }

    #[test]
    fn debug_never_shows_a_secret() {
        let credential = Credential::generate();
        assert!(!format!("{credential:?}").contains(credential.prefix()));
        let handover = Handover::generate();
        assert!(!format!("{handover:?}").contains(&handover.code()));
    }

    #[test]
    fn what_is_not_64_url_safe_characters_is_no_token_text() {
        for text in ["", "short", &"a".repeat(63), &"a".repeat(65), &format!("{}+", "a".repeat(63)), &"é".repeat(32)] {
            assert!(Credential::parse_token_text(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_handover_gives_the_same_secret_to_both_planes() {
        let drawn = Handover::generate();
        let joined = Handover::join(&drawn.code(), &drawn.salt()).expect("its own parts");
        assert_eq!(drawn.secret().digest(), joined.secret().digest());
        assert!(Credential::parse(drawn.secret().expose()).is_some());
        assert!(Credential::parse_token_text(drawn.secret().expose()).is_none());
        assert!(Handover::join("short", &drawn.salt()).is_none());
    }

    #[test]
    fn a_digest_reads_back_from_its_text_and_its_bytes() {
        let digest = Digest::of(b"a secret");
        assert_eq!(digest.to_string().parse::<Digest>().expect("its own text"), digest);
        assert_eq!(Digest::from_bytes(digest.as_bytes()), Some(digest));
        assert!("zz".parse::<Digest>().is_err());
    }
}
