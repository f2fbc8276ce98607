//! Who takes the money: asks a payment provider for payments and how they stand, and reads its
//! notices. It decides nothing and writes nothing; asking for the same payment again is harmless.

mod mock;
mod payment;
mod wire;
mod yookassa;

use chrono::{DateTime, Utc};

pub use mock::{Decision, Mock};
pub use payment::{Made, Notice, Order, PaymentState, ProviderPayment, Unavailable, Unverified, WebhookOutcome};
pub use wire::CURRENCY;
pub use yookassa::Yookassa;

use crate::config::PaymentProvider;

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

    /// Asks how a payment stands, by what the provider calls it; `None` if the provider knows none
    /// of that name.
    pub async fn ask(&self, id: &str) -> Result<Option<ProviderPayment>, Unavailable> {
        match self {
            // It keeps nothing: without a pressed button nothing is paid.
            Self::Mock(_) => Ok(None),
            Self::Yookassa(yookassa) => yookassa.ask(id).await,
        }
    }

    /// Reads a notice.
    pub fn hear(&self, notice: &Notice<'_>, now: DateTime<Utc>) -> Result<WebhookOutcome, Unverified> {
        match self {
            Self::Mock(mock) => mock.hear(notice, now),
            Self::Yookassa(yookassa) => yookassa.hear(notice),
        }
    }
}
