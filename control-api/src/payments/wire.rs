//! Payments and notices as YooKassa's API writes them (<https://yookassa.ru/developers/api>); the
//! mock speaks the same.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::payment::{PaymentState, ProviderPayment};

/// Every amount here is in it.
pub const CURRENCY: &str = "RUB";
/// What names of payments may be: they stand in paths.
const ID_CHARS: usize = 64;

#[derive(Serialize, Deserialize)]
pub struct Amount {
    /// With two decimals, as a text.
    pub value: String,
    pub currency: String,
}

impl Amount {
    pub fn rub(amount: Decimal) -> Self {
        Self { value: format!("{amount:.2}"), currency: CURRENCY.to_owned() }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pending,
    WaitingForCapture,
    Succeeded,
    Canceled,
}

#[derive(Serialize, Deserialize)]
pub struct Payment {
    pub id: String,
    pub status: Status,
    pub amount: Amount,
    #[serde(skip_serializing)]
    pub confirmation: Option<Confirmation>,
}

#[derive(Deserialize)]
pub struct Confirmation {
    pub confirmation_url: Option<String>,
}

impl Payment {
    /// `None` if it has a name or an amount that no payment has.
    pub fn told(self) -> Option<ProviderPayment> {
        let standing = match self.status {
            // What is captured at once waits for nothing.
            Status::Pending | Status::WaitingForCapture => PaymentState::Pending,
            Status::Succeeded => PaymentState::Succeeded,
            Status::Canceled => PaymentState::Canceled,
        };
        let amount = self.amount.value.parse().ok()?;
        is_id(&self.id).then_some(ProviderPayment { id: self.id, standing, amount, currency: self.amount.currency })
    }
}

/// Whether a text can be what a provider calls a payment.
pub fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=ID_CHARS).contains(&text.len()) && text.bytes().all(plain)
}

#[derive(Serialize, Deserialize)]
pub struct Notification<Object> {
    /// Always [`NOTIFICATION`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Of what, and what became of it: `payment.succeeded`.
    pub event: String,
    pub object: Object,
}

pub const NOTIFICATION: &str = "notification";

/// What a notice that proves nothing is read for.
#[derive(Deserialize)]
pub struct Named {
    pub id: String,
}
