//! A provider for development: its page has a button that pays and one that cancels, each of which
//! sends a signed notice. It keeps nothing, so a payment for which nobody presses a button has not
//! been paid.

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::{
    payment::{Made, Notice, Order, ProviderPayment, Unverified, WebhookOutcome},
    wire::{Amount, NOTIFICATION, Notification, Payment, Status},
};
use crate::{config::Secret, db::payment};

/// How far the time of a signature may lie from ours, in seconds.
const TOLERANCE_SECONDS: u64 = 300;

/// Signs notices, and checks what it signed.
pub struct Mock {
    secret: Secret,
    /// Where its page is served.
    origin: String,
}

/// Which button was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Pay,
    Cancel,
}

impl Mock {
    /// Where the page of a payment lies, on the origin of the API.
    pub const PATH: &str = "/mock-pay";

    pub fn new(secret: &Secret, origin: &str) -> Self {
        Self { secret: secret.clone(), origin: origin.to_owned() }
    }

    pub fn make(&self, order: &Order<'_>) -> Made {
        Made { id: Self::name_of(order.id), url: format!("{}{}/{}", self.origin, Self::PATH, order.id) }
    }

    /// What it calls our payment.
    pub fn name_of(id: Uuid) -> String {
        format!("mock-{id}")
    }

    /// The notice of a decision, and what signs it.
    pub fn notice(&self, payment: &payment::Model, decision: Decision, now: DateTime<Utc>) -> (Vec<u8>, String) {
        let (event, status) = match decision {
            Decision::Pay => ("payment.succeeded", Status::Succeeded),
            Decision::Cancel => ("payment.canceled", Status::Canceled),
        };
        let amount = Amount::rub(payment.amount_rub);
        let object = Payment { id: Self::name_of(payment.id), status, amount, confirmation: None };
        let notification = Notification { kind: NOTIFICATION.to_owned(), event: event.to_owned(), object };
        let body = serde_json::to_vec(&notification).expect("texts render");
        let time = now.timestamp();
        let signature = format!("t={time},v1={}", hex::encode(self.mac(time, &body).finalize().into_bytes()));
        (body, signature)
    }

    pub fn hear(&self, notice: &Notice<'_>, now: DateTime<Utc>) -> Result<WebhookOutcome, Unverified> {
        let signature = notice.signature.and_then(Signature::parse).ok_or(Unverified("it is not signed"))?;
        if signature.time.abs_diff(now.timestamp()) > TOLERANCE_SECONDS {
            return Err(Unverified("it was signed at another time"));
        }
        // Compares in constant time.
        let signed = self.mac(signature.time, notice.body).verify_slice(&signature.mac);
        signed.map_err(|_| Unverified("its signature is another's"))?;
        let notification: Notification<Payment> =
            serde_json::from_slice(notice.body).map_err(|_| Unverified("it cannot be read"))?;
        let told: Option<ProviderPayment> = notification.object.told();
        told.map(WebhookOutcome::Truth).ok_or(Unverified("it cannot be read"))
    }

    /// Over `<time>.<body>`, the time in seconds since 1970.
    fn mac(&self, time: i64, body: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.secret.expose().as_bytes()).expect("any key will do");
        mac.chain_update(time.to_string()).chain_update(b".").chain_update(body)
    }
}

/// `t=<seconds since 1970>,v1=<HMAC-SHA256 in hexadecimal>`
struct Signature {
    time: i64,
    mac: [u8; 32],
}

impl Signature {
    fn parse(text: &str) -> Option<Self> {
        let (time, mac) = text.split_once(',')?;
        let (time, mac) = (time.strip_prefix("t=")?, mac.strip_prefix("v1=")?);
        // What was signed is the time as it is written here, and no other spelling of it.
        let time = time.parse().ok().filter(|read: &i64| read.to_string() == time)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(mac, &mut bytes).ok()?;
        Some(Self { time, mac: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_750_000_000;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a moment")
    }

    fn hear(mock: &Mock, body: &[u8], signature: &str, now: i64) -> Result<WebhookOutcome, Unverified> {
        mock.hear(&Notice { body, signature: Some(signature), sender: None }, at(now))
    }

    fn sign(mock: &Mock, body: &[u8], time: i64) -> String {
        format!("t={time},v1={}", hex::encode(mock.mac(time, body).finalize().into_bytes()))
    }

    const BODY: &[u8] =
        br#"{"type":"notification","event":"payment.succeeded","object":{"id":"mock-1","status":"succeeded",
        "amount":{"value":"10.00","currency":"RUB"}}}"#;

    #[test]
    fn a_signature_counts_for_five_minutes_either_way_and_for_its_own_body_and_time() {
        let mock = Mock::new(&Secret::from("a secret of the tests of the mock"), "http://localhost");
        let signature = sign(&mock, BODY, NOW);
        for now in [NOW, NOW - 300, NOW + 300] {
            assert!(matches!(hear(&mock, BODY, &signature, now), Ok(WebhookOutcome::Truth(_))), "{now}");
        }
        for now in [NOW - 301, NOW + 301, i64::from(u32::MAX)] {
            assert!(hear(&mock, BODY, &signature, now).is_err(), "{now}");
        }
        assert!(hear(&mock, b"{}", &signature, NOW).is_err());
        let (_, mac) = signature.split_once(',').expect("two parts");
        let stranger = Mock::new(&Secret::from("another secret, of somebody else"), "http://localhost");
        let forged = [
            format!("t={},{mac}", NOW + 1),
            format!("t=+{NOW},{mac}"),
            format!("t=0{NOW},{mac}"),
            format!("t=-9223372036854775808,{mac}"),
            format!("t={NOW},v1="),
            format!("t={NOW}"),
            mac.to_owned(),
            sign(&stranger, BODY, NOW),
        ];
        for forged in forged {
            assert!(hear(&mock, BODY, &forged, NOW).is_err(), "{forged}");
        }
    }

    #[test]
    fn a_notice_that_is_signed_but_cannot_be_read_is_refused() {
        let mock = Mock::new(&Secret::from("a secret of the tests of the mock"), "http://localhost");
        for body in [&b"{}"[..], b"", b"[]", br#"{"type":"notification","event":"x","object":{"id":"../etc"}}"#] {
            assert!(hear(&mock, body, &sign(&mock, body, NOW), NOW).is_err());
        }
    }
}
