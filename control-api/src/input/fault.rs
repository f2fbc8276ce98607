//! What can be wrong with a value that was given: one list, which the API says in English here and
//! the console in both languages (`console/text.rs`).

use std::fmt::{self, Display, Formatter};

/// Why a value was refused. It never holds what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Required,
    NotText,
    TooShort,
    TooLong,
    ControlCharacters,
    IdempotencyKey,
    Method,
    Email,
    Url,
    PasswordTooShort,
    PasswordTooLong,
    Nul,
    Days,
    Flag,
    Id,
    Limit,
    Offset,
    BelowOne,
    NotInteger,
    Scope,
    TransactionType,
    NotAmount,
    NegativeAmount,
    TooManyDecimals,
    TooLarge,
    NotPositive,
    AboveTopUpMax,
    ReadOnly,
    Timestamp,
    Networks,
    Address,
    TokenCount,
    Duration,
    Percent,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "is required",
            Self::NotText => "must be a text",
            Self::TooShort => "is too short",
            Self::TooLong => "is too long",
            Self::ControlCharacters => "must not hold control characters",
            Self::IdempotencyKey => "must have 1 to 255 visible ASCII characters",
            Self::Method => "must be the name of a method",
            Self::Email => "must be an e-mail address",
            Self::Url => "must be an http:// or https:// URL",
            Self::PasswordTooShort => "must have at least 8 characters",
            Self::PasswordTooLong => "must have at most 72 bytes",
            Self::Nul => "must not hold a NUL",
            Self::Days => "must be an integer from 1 to 366",
            Self::Flag => "must be true or false",
            Self::Id => "must be a UUID",
            Self::Limit => "must be an integer from 1 to 100",
            Self::Offset => "must be an integer from 0 to 1000000000",
            Self::BelowOne => "must be at least 1",
            Self::NotInteger => "must be an integer",
            Self::Scope => "must be full or certificates_only",
            Self::TransactionType => "must be deposit, purchase, refund, referral_bonus or adjustment",
            Self::NotAmount => "must be an amount such as \"482.00\"",
            Self::NegativeAmount => "must be an amount from 0 such as \"482.00\"",
            Self::TooManyDecimals => "must have at most two decimals",
            Self::TooLarge => "is too large",
            Self::NotPositive => "must be more than 0",
            Self::AboveTopUpMax => "must be at most 1000000.00",
            Self::ReadOnly => "cannot be given",
            Self::Timestamp => "must be a moment as RFC 3339 writes it",
            Self::Networks => "must be a list of at most 64 addresses or networks such as 10.0.0.0/8",
            Self::Address => "must be an IPv4 or IPv6 address",
            Self::TokenCount => "must be an integer from 1 to 100",
            Self::Duration => "must be one of 1, 12, 24, 168, 720",
            Self::Percent => "must be a percentage from 0 to 100 such as \"15.00\"",
        })
    }
}
