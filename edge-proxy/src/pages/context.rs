//! Who a page is for, and why it asks to sign in.

use std::net::IpAddr;

use http::{HeaderMap, header};
use shared::web::{cookie, language::Language};

use crate::{
    cookies,
    rejection::{InvalidCredential, Rejection},
};

/// Who reads a page, and what they were about to do.
#[derive(Debug)]
pub struct PageContext {
    pub language: Language,
    /// A path on this origin where they were going.
    pub next: String,
    /// Whether pages and endpoints of the gateway are on the origin that they came to.
    pub is_home: bool,
    /// Whether the same may be asked again just so.
    pub may_repeat: bool,
    pub address: Option<IpAddr>,
    /// Redis' time, in milliseconds since 1970.
    pub now_ms: i64,
    pub request_id: String,
}

impl PageContext {
    /// The language that this browser chose, or likes.
    pub fn language_of(headers: &HeaderMap) -> Language {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|accepted| accepted.to_str().ok());
        Language::of(cookies::get(headers, cookie::LANGUAGE), accepted)
    }
}

/// Why somebody is asked to sign in, as the address of that page has it, for it is asked for again
/// in another language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInReason {
    InvalidCredential(InvalidCredential),
    HandoverGone,
}

impl SignInReason {
    pub(super) const ALL: [(&str, Self); 5] = [
        ("expired", Self::InvalidCredential(InvalidCredential::Expired)),
        ("revoked", Self::InvalidCredential(InvalidCredential::Revoked)),
        ("suspended", Self::InvalidCredential(InvalidCredential::Suspended)),
        ("unknown", Self::InvalidCredential(InvalidCredential::Unknown)),
        ("link", Self::HandoverGone),
    ];

    pub fn of(rejection: &Rejection) -> Option<Self> {
        match rejection {
            Rejection::BadCredential(bad) => Some(Self::InvalidCredential(*bad)),
            Rejection::HandoverGone => Some(Self::HandoverGone),
            _ => None,
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, why)| why)
    }

    /// Its name in an address or a cookie.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, why)| *why == self).map_or("", |(name, _)| name)
    }
}
