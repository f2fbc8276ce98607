//! YooKassa's API as its documentation describes it (<https://yookassa.ru/developers/api>), for a
//! shop of tests: payments are made once for each idempotence key, paid or canceled by the test,
//! and shown to the holder of the shop's key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::upstreams::small_server::SmallServer;

pub const SHOP_ID: &str = "54401";
pub const SECRET_KEY: &str = "test_qL3rZ8vN1xW6sYd0";

/// A running API. It stops when it is dropped.
#[derive(Debug)]
pub struct Yookassa {
    server: SmallServer,
    shop: Arc<Mutex<Shop>>,
}

/// How it treats its callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Well,
    /// Answers `500` and does nothing.
    Down,
    /// Does what it is asked, and breaks the connection off instead of answering.
    Mute,
}

#[derive(Debug, Default)]
struct Shop {
    mood: Mood,
    payments: HashMap<String, Value>,
    /// Which payment was made for an idempotence key, and of what request.
    made: HashMap<String, (Bytes, String)>,
    /// How often a payment was asked about.
    asked: usize,
}

impl Yookassa {
    pub async fn start() -> anyhow::Result<Self> {
        let shop = Arc::<Mutex<Shop>>::default();
        let asked = Arc::clone(&shop);
        let server = SmallServer::start(move |request| {
            let mut shop = lock(&asked);
            let (status, answer) = shop.answer(request);
            let mut response = Response::new(Bytes::from(answer.to_string()));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            (shop.mood != Mood::Mute).then_some(response)
        })
        .await?;
        Ok(Self { server, shop })
    }

    /// What `YOOKASSA_API_URL` is to be.
    pub fn url(&self) -> String {
        format!("http://{}/v3", self.server.address)
    }

    pub fn is(&self, mood: Mood) {
        lock(&self.shop).mood = mood;
    }

    /// The names of all payments that were made.
    pub fn payments(&self) -> Vec<String> {
        lock(&self.shop).payments.keys().cloned().collect()
    }

    /// A payment as it stands.
    pub fn payment(&self, id: &str) -> Value {
        lock(&self.shop).payments[id].clone()
    }

    /// How often payments were asked about.
    pub fn asked(&self) -> usize {
        lock(&self.shop).asked
    }

    /// Changes members of a payment.
    pub fn change(&self, id: &str, members: &Value) {
        let mut shop = lock(&self.shop);
        let payment = shop.payments.get_mut(id).expect("a payment");
        for (name, value) in members.as_object().expect("members") {
            payment[name] = value.clone();
        }
    }

    /// The payer pays.
    pub fn pays(&self, id: &str) {
        self.change(id, &json!({ "status": "succeeded", "paid": true }));
    }

    /// The payer does not.
    pub fn cancels(&self, id: &str) {
        let details = json!({ "party": "yoo_money", "reason": "expired_on_confirmation" });
        self.change(id, &json!({ "status": "canceled", "cancellation_details": details }));
    }

    /// Loses a payment.
    pub fn forgets(&self, id: &str) {
        lock(&self.shop).payments.remove(id);
    }

    /// The notice that it sends of how a payment stands.
    pub fn notice(&self, id: &str) -> Value {
        let payment = self.payment(id);
        let event = format!("payment.{}", payment["status"].as_str().expect("a status"));
        json!({ "type": "notification", "event": event, "object": payment })
    }
}

fn lock(shop: &Mutex<Shop>) -> std::sync::MutexGuard<'_, Shop> {
    shop.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shop {
    fn answer(&mut self, request: &Request<Bytes>) -> (StatusCode, Value) {
        let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
        let credentials = format!("Basic {}", BASE64_STANDARD.encode(format!("{SHOP_ID}:{SECRET_KEY}")));
        if self.mood == Mood::Down {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error");
        }
        if headers.get(header::AUTHORIZATION).is_none_or(|given| given != credentials.as_str()) {
            return error(StatusCode::UNAUTHORIZED, "invalid_credentials");
        }
        match (method, path.strip_prefix("/v3/payments")) {
            (&Method::POST, Some("")) => self.make(headers, request.body()),
            (&Method::GET, Some(id)) => {
                self.asked += 1;
                let payment = id.strip_prefix('/').and_then(|id| self.payments.get(id));
                payment.map_or_else(
                    || error(StatusCode::NOT_FOUND, "not_found"),
                    |payment| (StatusCode::OK, payment.clone()),
                )
            }
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "not_supported"),
        }
    }

    fn make(&mut self, headers: &HeaderMap, body: &Bytes) -> (StatusCode, Value) {
        let key = headers.get("idempotence-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        let Ok(order) = serde_json::from_slice::<Value>(body) else { return bad("body") };
        if key.is_empty() || key.len() > 64 {
            return bad("Idempotence-Key");
        }
        if let Some((asked, id)) = self.made.get(key) {
            return if asked == body { (StatusCode::OK, self.payments[id].clone()) } else { bad("Idempotence-Key") };
        }
        let value = order["amount"]["value"].as_str().unwrap_or_default();
        let has_two_decimals = value.split_once('.').is_some_and(|(_, decimals)| decimals.len() == 2);
        if order["amount"]["currency"] != "RUB" || !has_two_decimals {
            return bad("amount");
        }
        if order["capture"] != true || order["confirmation"]["type"] != "redirect" {
            return bad("confirmation");
        }
        let id = Uuid::new_v4().to_string();
        let payment = json!({
            "id": id,
            "status": "pending",
            "paid": false,
            "amount": order["amount"],
            "confirmation": {
                "type": "redirect",
                "return_url": order["confirmation"]["return_url"],
                "confirmation_url": format!("https://yoomoney.ru/payments/external/confirmation?orderId={id}"),
            },
            "created_at": "2026-11-23T10:00:00.000Z",
            "description": order["description"],
            "metadata": order["metadata"],
            "recipient": { "account_id": SHOP_ID, "gateway_id": "1" },
            "refundable": false,
            "test": true,
        });
        self.payments.insert(id.clone(), payment.clone());
        self.made.insert(key.to_owned(), (body.clone(), id));
        (StatusCode::OK, payment)
    }
}

fn bad(parameter: &str) -> (StatusCode, Value) {
    let (status, mut body) = error(StatusCode::BAD_REQUEST, "invalid_request");
    body["parameter"] = json!(parameter);
    (status, body)
}

fn error(status: StatusCode, code: &str) -> (StatusCode, Value) {
    (status, json!({ "type": "error", "id": Uuid::new_v4(), "code": code, "description": "no" }))
}
