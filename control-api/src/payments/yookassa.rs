//! YooKassa by its public HTTP API (<https://yookassa.ru/developers/api>). Its notices are not
//! signed: one only hints that the API should be asked, and what the API answers is the truth.

use std::{error::Error, time::Duration};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use rustls::crypto::ring;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    payment::{Made, Notice, Order, ProviderPayment, Unavailable, Unverified, WebhookOutcome},
    wire::{Amount, NOTIFICATION, Named, Notification, Payment, is_id},
};
use crate::config::Shop;

/// The header that makes asking for a payment repeatable, as YooKassa calls it. It is remembered
/// for a day.
const IDEMPOTENCE_KEY: &str = "Idempotence-Key";
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// From a question to the end of its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How often a payment is asked for while its answer does not come: what is lost on the way comes
/// by the second, and both fit into what a request may take.
const TRIES: usize = 2;
/// What an answer may have, in bytes; a payment has two thousand or so.
const ANSWER_BYTES: usize = 64 * 1024;
/// Questions that are asked at once; so that notices cannot make us flood the API.
const AT_ONCE: usize = 16;
const WAIT_WITHIN: Duration = Duration::from_secs(2);

/// A shop at YooKassa.
pub struct Yookassa {
    http: Client,
    shop: Shop,
    slots: Semaphore,
}

impl Yookassa {
    pub fn new(shop: &Shop) -> Result<Self, Unavailable> {
        // The first call chose the same one.
        let _ = ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Unavailable(format!("cannot be spoken to: {error}")))?;
        Ok(Self { http, shop: shop.clone(), slots: Semaphore::new(AT_ONCE) })
    }

    pub async fn make(&self, order: &Order<'_>) -> Result<Made, Unavailable> {
        let body = json!({
            "amount": Amount::rub(order.amount_rub),
            "capture": true,
            "confirmation": { "type": "redirect", "return_url": order.return_url },
            "description": order.description,
            "metadata": { "payment_id": order.id },
        });
        let mut tried = 1;
        let made = loop {
            let request = self.request(Method::POST, "payments");
            let request = request.header(IDEMPOTENCE_KEY, order.id.to_string()).json(&body);
            match self.answer(request).await {
                Ok(made) => break made,
                Err(error) if tried == TRIES => return Err(error),
                Err(error) => tracing::warn!(%error, payment_id = %order.id, "asks for the payment again"),
            }
            tried += 1;
        };
        let made = made.ok_or_else(|| unavailable("has no payments under YOOKASSA_API_URL"))?;
        let url = made.confirmation.and_then(|confirmation| confirmation.confirmation_url);
        match url {
            Some(url) if is_id(&made.id) => Ok(Made { id: made.id, url }),
            _ => Err(unavailable("made a payment that cannot be paid")),
        }
    }

    pub async fn ask(&self, id: &str) -> Result<Option<ProviderPayment>, Unavailable> {
        let Some(payment) = self.answer(self.request(Method::GET, &format!("payments/{id}"))).await? else {
            return Ok(None);
        };
        payment.told().map(Some).ok_or_else(|| unavailable("told of a payment that is none"))
    }

    pub fn hear(&self, notice: &Notice<'_>) -> Result<WebhookOutcome, Unverified> {
        let is_listed = |sender| self.shop.senders.contains(sender);
        if !self.shop.senders.is_empty() && !notice.sender.is_some_and(is_listed) {
            return Err(Unverified("its sender is not listed"));
        }
        let unreadable = |_| Unverified("it cannot be read");
        let notification: Notification<Value> = serde_json::from_slice(notice.body).map_err(unreadable)?;
        if notification.kind != NOTIFICATION {
            return Err(Unverified("it is no notification"));
        }
        if !notification.event.starts_with("payment.") {
            return Ok(WebhookOutcome::OfNoConcern);
        }
        let named: Named = serde_json::from_value(notification.object).map_err(unreadable)?;
        if is_id(&named.id) { Ok(WebhookOutcome::Hint(named.id)) } else { Err(Unverified("it names no payment")) }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/{path}", self.shop.api_url));
        request.basic_auth(&self.shop.id, Some(self.shop.secret_key.expose()))
    }

    /// The payment that a request is answered with; `None` if there is none.
    async fn answer(&self, request: RequestBuilder) -> Result<Option<Payment>, Unavailable> {
        let slot = timeout(WAIT_WITHIN, self.slots.acquire()).await.map_err(|_| unavailable("is asked too much"))?;
        let _slot = slot.expect("nobody closes it");
        let answer = request.send().await.map_err(unreachable)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(Unavailable(format!("answered {status}"))),
        }
        let body = read(answer).await?;
        serde_json::from_slice(&body).map(Some).map_err(|_| unavailable("answered with what is no payment"))
    }
}

/// The body of an answer, if it is not too long.
async fn read(mut answer: Response) -> Result<Vec<u8>, Unavailable> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES {
            return Err(unavailable("answered with too much"));
        }
    }
    Ok(body)
}

fn unavailable(what: &str) -> Unavailable {
    Unavailable(what.to_owned())
}

fn unreachable(error: reqwest::Error) -> Unavailable {
    let why = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
    // The error's own text hides what lies below it.
    let error = error.without_url();
    let mut text = format!("{why}: {error}");
    let mut cause = error.source();
    while let Some(below) = cause {
        text = format!("{text}: {below}");
        cause = below.source();
    }
    Unavailable(text)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use shared::net::address::Networks;

    use super::*;
    use crate::config::Secret;

    fn hear(senders: &[&str], sender: Option<&str>, body: &str) -> Result<WebhookOutcome, Unverified> {
        let shop = Shop {
            api_url: "http://localhost".to_owned(),
            id: "shop".to_owned(),
            secret_key: Secret::from("key"),
            senders: Networks::parse(senders.iter().copied()).expect("networks"),
        };
        let sender: Option<IpAddr> = sender.map(|sender| sender.parse().expect("an address"));
        Yookassa::new(&shop).expect("a client").hear(&Notice { body: body.as_bytes(), signature: None, sender })
    }

    const SUCCEEDED: &str =
        r#"{"type":"notification","event":"payment.succeeded","object":{"id":"22d6d597-000f","status":"succeeded"}}"#;

    #[test]
    fn a_notice_of_a_listed_sender_is_a_hint_and_no_more() {
        let hint = Ok(WebhookOutcome::Hint("22d6d597-000f".to_owned()));
        assert_eq!(hear(&["185.71.76.0/27"], Some("185.71.76.31"), SUCCEEDED), hint);
        assert_eq!(hear(&["185.71.76.0/27"], Some("::ffff:185.71.76.31"), SUCCEEDED), hint);
        assert_eq!(hear(&[], None, SUCCEEDED), hint, "without a list the API's word is enough");
        assert!(hear(&["185.71.76.0/27"], Some("185.71.76.32"), SUCCEEDED).is_err());
        assert!(hear(&["185.71.76.0/27"], None, SUCCEEDED).is_err());
    }

    #[test]
    fn a_notice_that_names_no_payment_is_refused_and_one_of_another_kind_ignored() {
        let refund = r#"{"type":"notification","event":"refund.succeeded","object":{"id":"1","payment_id":"2"}}"#;
        assert_eq!(hear(&[], None, refund), Ok(WebhookOutcome::OfNoConcern));
        for bad in [
            "",
            "{}",
            r#"{"type":"other","event":"payment.succeeded","object":{"id":"1"}}"#,
            r#"{"type":"notification","event":"payment.succeeded","object":{"id":"../payouts/1"}}"#,
            r#"{"type":"notification","event":"payment.succeeded","object":{"id":""}}"#,
            r#"{"type":"notification","event":"payment.succeeded","object":{}}"#,
        ] {
            assert!(hear(&[], None, bad).is_err(), "{bad}");
        }
    }
}
