//! Who takes the money: asks a payment provider for payments and how they stand, and reads its notices. It decides nothing and
//! writes nothing; asking for the same payment again is harmless.

mod mock;
mod wire;
mod yookassa;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

pub use mock::{Decision, Mock};
pub use wire::CURRENCY;
pub use yookassa::Yookassa;

use crate::config::PaymentProvider;

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
pub enum Standing {
    Pending,
    Succeeded,
    Canceled,
}

/// What the provider says of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What the provider calls it.
    pub id: String,
    pub standing: Standing,
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
pub enum Heard {
    /// The provider's own word.
    Truth(Told),
    /// Only that the provider should be asked about its payment of this name.
    Hint(String),
    /// It is about something else than a payment.
    OfNoConcern,
}

/// A notice that the provider may not have sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the notice is not verified: {0}")]
pub struct Unverified(&'static str);

/// Why the provider gave no answer that helps.
#[derive(Debug, thiserror::Error)]
#[error("the payment provider {0}")]
pub struct Unavailable(String);

/// The provider that is configured.
pub enum Provider {
    Mock(Mock),
    Yookassa(Yookassa),
}

impl Provider {
    /// `None` where no payments are taken; an error where TLS cannot be set up.
    pub fn new(config: &PaymentProvider, control_origin: &str) -> Result<Option<Self>, Unavailable> {
        Ok(match config {
            PaymentProvider::None => None,
            PaymentProvider::Mock { webhook_secret } => Some(Self::Mock(Mock::new(webhook_secret, control_origin))),
            PaymentProvider::Yookassa(shop) => Some(Self::Yookassa(Yookassa::new(shop)?)),
        })
    }

    /// As payments of it are marked.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mock(_) => "mock",
            Self::Yookassa(_) => "yookassa",
        }
    }

    /// Asks for a payment, or for the same one again.
    pub async fn make(&self, order: &Order<'_>) -> Result<Made, Unavailable> {
        match self {
            Self::Mock(mock) => Ok(mock.make(order)),
            Self::Yookassa(yookassa) => yookassa.make(order).await,
        }
    }

    /// Asks how a payment stands, by what the provider calls it; `None` if the provider knows none of that name.
    pub async fn ask(&self, id: &str) -> Result<Option<Told>, Unavailable> {
        match self {
            // It keeps nothing: whoever does not press a button has not paid.
            Self::Mock(_) => Ok(None),
            Self::Yookassa(yookassa) => yookassa.ask(id).await,
        }
    }

    /// Reads a notice.
    pub fn hear(&self, notice: &Notice<'_>, now: DateTime<Utc>) -> Result<Heard, Unverified> {
        match self {
            Self::Mock(mock) => mock.hear(notice, now),
            Self::Yookassa(yookassa) => yookassa.hear(notice),
        }
    }
}
