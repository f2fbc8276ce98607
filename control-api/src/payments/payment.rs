//! A payment, as it is asked for and as the provider tells of it.

use std::net::IpAddr;

use rust_decimal::Decimal;
use uuid::Uuid;

/// A payment to be made.
pub struct Order<'a> {
    /// Ours; asking again with the same one makes no second payment.
    pub id: Uuid,
    pub amount_rub: Decimal,
    /// Where the payer is sent afterwards.
    pub return_url: &'a str,
    /// What the payer reads.
    pub description: &'a str,
}

/// A payment as the provider made it.
pub struct Made {
    /// What the provider calls it.
    pub id: String,
    /// Where it is paid.
    pub url: String,
}

/// How a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState {
    Pending,
    Succeeded,
    Canceled,
}

/// What the provider says of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderPayment {
    /// What the provider calls it.
    pub id: String,
    pub standing: PaymentState,
    pub amount: Decimal,
    pub currency: String,
}

/// A notice as it came in.
pub struct Notice<'a> {
    pub body: &'a [u8],
    /// What stands in `X-Signature`.
    pub signature: Option<&'a str>,
    pub sender: Option<IpAddr>,
}

/// What a notice is worth.
#[derive(Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// The provider's own word.
    Truth(ProviderPayment),
    /// Only that the provider should be asked about its payment of this name.
    Hint(String),
    /// It is about something else than a payment.
    OfNoConcern,
}

/// A notice that the provider may not have sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the notice is not verified: {0}")]
pub struct Unverified(pub(super) &'static str);

/// Why the provider gave no answer that helps.
#[derive(Debug, thiserror::Error)]
#[error("the payment provider {0}")]
pub struct Unavailable(pub(super) String);
