//! People who use the gateway, each through its public interfaces alone.

pub mod console;

use std::{fmt::Display, pin::Pin, sync::Arc, time::Instant};

use chrono::{DateTime, Utc};
use http::Method;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use shared::token::credential::{Credential, Digest};
use uuid::Uuid;

use crate::{
    clients::http::{Answer, Ask, client},
    processes::secrets::Secrets,
};

/// The control API as its users reach it.
#[derive(Clone, Debug)]
pub struct ControlApi {
    url: String,
    http: Client,
    secrets: Secrets,
}

impl ControlApi {
    /// The one at this origin. What its users are told in secret is remembered.
    pub fn at(url: &str, secrets: &Secrets) -> Self {
        Self { url: url.to_owned(), http: client().build().expect("a client"), secrets: secrets.clone() }
    }

    /// Somebody who registers when awaited. `admin` sets their balance.
    pub fn new_user(&self, name: &str, admin: &Arc<User>) -> NewUser {
        NewUser { name: name.to_owned(), credits: None, control: self.clone(), admin: Arc::clone(admin) }
    }

    /// The HTTP client that its users share.
    pub fn client(&self) -> &Client {
        &self.http
    }

    /// A request to `/api/v1<path>` without credentials.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.url))
    }

    /// Asks for an account, which may be refused.
    pub async fn registers(&self, body: &Value) -> Answer {
        self.request(Method::POST, "/auth/register").json(body).answer().await
    }

    /// Asks for a login, which may be refused.
    pub async fn tries_to_log_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.request(Method::POST, "/auth/login").json(&body).answer().await
    }

    /// Logs in and returns the user.
    pub async fn logs_in(&self, email: &str, password: &str) -> User {
        let jwt = text(&self.tries_to_log_in(email, password).await.expect(200), "access_token");
        self.secrets.remember("password", password);
        self.secrets.remember("JWT", &jwt);
        let me = self.request(Method::GET, "/users/me").bearer_auth(&jwt).answer().await.expect(200);
        User { id: text(&me, "id"), email: email.to_owned(), password: password.to_owned(), jwt, control: self.clone() }
    }
}

/// Somebody who is about to register. Awaiting gives the user.
#[derive(Debug)]
pub struct NewUser {
    name: String,
    credits: Option<String>,
    control: ControlApi,
    admin: Arc<User>,
}

impl NewUser {
    /// With a balance, set by an administrator.
    pub fn with_credits(mut self, znc: impl Display) -> Self {
        self.credits = Some(znc.to_string());
        self
    }

    async fn register(self) -> User {
        let (email, password) = (format!("{}@example.com", self.name), format!("{}'s password", self.name));
        self.control.secrets.remember("password", &password);
        let body = json!({ "email": email, "username": self.name, "password": password });
        self.control.registers(&body).await.expect(201);
        let user = self.control.logs_in(&email, &password).await;
        if let Some(credits) = &self.credits {
            self.admin.changes(&user, &json!({ "currency_balance": credits })).await.expect(200);
        }
        user
    }
}

impl IntoFuture for NewUser {
    type Output = User;
    type IntoFuture = Pin<Box<dyn Future<Output = User> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.register())
    }
}

/// Somebody with an account, logged in.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub email: String,
    pub password: String,
    pub jwt: String,
    control: ControlApi,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("email", &self.email).finish_non_exhaustive()
    }
}

impl User {
    /// The same user, who calls another replica.
    pub fn by(&self, url: &str) -> Self {
        Self { control: ControlApi { url: url.to_owned(), ..self.control.clone() }, ..self.clone() }
    }

    /// A request to `/api/v1<path>` with this user's JWT.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.control.request(method, path).bearer_auth(&self.jwt)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub fn patch(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::PATCH, path).json(body)
    }

    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// What is left on the account, as the API tells it.
    pub async fn balance(&self) -> String {
        text(&self.get("/currency/balance").answer().await.expect(200), "balance")
    }

    /// Asks for a token that opens everything, which may be refused.
    pub async fn purchases(&self, duration_hours: u32) -> Answer {
        self.tries_to_buy(&json!({ "duration_hours": duration_hours })).await
    }

    /// Asks for a token, which may be refused.
    pub async fn tries_to_buy(&self, body: &Value) -> Answer {
        let answer = self.request(Method::POST, "/tokens/purchase").json(body).answer().await;
        if answer.status == 201 {
            self.control.secrets.remember("token", &text(&answer.json(), "token"));
        }
        answer
    }

    /// Buys a token that opens everything.
    pub async fn buys(&self, duration_hours: u32) -> Token {
        self.buys_scoped(duration_hours, "full").await
    }

    pub async fn buys_scoped(&self, duration_hours: u32, scope: &str) -> Token {
        let body = json!({ "duration_hours": duration_hours, "scope": scope });
        Token::of(&self.tries_to_buy(&body).await.expect(201))
    }

    /// Buys more time for a token; what the API tells of it then.
    pub async fn extends(&self, token: &Token, duration_hours: u32) -> Value {
        let request = self.request(Method::POST, &format!("/tokens/{}/extend", token.id));
        request.json(&json!({ "duration_hours": duration_hours })).answer().await.expect(200)
    }

    /// Gives a token back that was never used.
    pub async fn refunds(&self, token: &Token) -> Answer {
        self.request(Method::DELETE, &format!("/tokens/{}", token.id)).answer().await
    }

    /// Gets a new text for a token; the old one dies.
    pub async fn rotates(&self, token: &Token) -> Token {
        let rotated = self.request(Method::POST, &format!("/tokens/{}/rotate", token.id)).answer().await.expect(200);
        let rotated = Token::of(&rotated);
        self.control.secrets.remember("token", &rotated.text);
        rotated
    }

    /// What the tokens page lists, the ended ones too.
    pub async fn tokens(&self) -> Vec<Value> {
        let listed = self.request(Method::GET, "/tokens/my-tokens?active_only=false").answer().await.expect(200);
        listed.as_array().expect("a bare array").clone()
    }

    /// As an administrator: changes another user.
    pub async fn changes(&self, user: &User, change: &Value) -> Answer {
        self.request(Method::PATCH, &format!("/admin/users/{}", user.id)).json(change).answer().await
    }

    /// As an administrator: the sessions of a token, the newest first, the ended ones too.
    pub async fn sessions_of(&self, token: &Token) -> Vec<Value> {
        let path = format!("/admin/sessions?token_id={}&active_only=false&limit=100", token.id);
        let page = self.request(Method::GET, &path).answer().await.expect(200);
        page["items"].as_array().expect("a page").clone()
    }
}

/// A token that was bought.
#[derive(Clone)]
pub struct Token {
    pub id: Uuid,
    /// The 64 characters that open the upstream.
    pub text: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Token {
    /// One that nobody ever sold.
    pub fn stranger() -> Self {
        Self { id: Uuid::nil(), text: "0123456789abcdef".repeat(4) }
    }

    /// One that was bought, as the API tells it.
    pub fn of(bought: &Value) -> Self {
        Self { id: text(bought, "id").parse().expect("a UUID"), text: text(bought, "token") }
    }

    /// By which Redis and Postgres know it.
    pub fn digest(&self) -> Digest {
        Credential::parse_token_text(&self.text).expect("64 URL-safe characters").digest()
    }
}

/// An edge as people and programs reach it.
#[derive(Clone, Debug)]
pub struct Edge {
    pub(crate) url: String,
    pub(crate) http: Client,
}

impl Edge {
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The HTTP client that its users share.
    pub fn client(&self) -> &Client {
        &self.http
    }

    /// The same edge by another of its origins, spoken to by that client.
    pub fn by(&self, url: &str, http: Client) -> Self {
        Self { url: url.to_owned(), http }
    }

    /// A browser's own requests, signed in with a token's text.
    pub async fn browser_signed_in(&self, token: &Token) -> Client {
        let browser = client().cookie_store(true).build().expect("a client");
        let sign_in = browser.post(format!("{}/api/v1/proxy/authenticate", self.url));
        sign_in.json(&json!({ "token": token.text })).answer().await.expect(200);
        browser
    }

    /// A request without credentials.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A request by an API client that holds `token`.
    pub fn with(&self, token: &Token, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header("X-Access-Token", &token.text)
    }

    /// A request by an API client that holds `token` and names its device.
    pub fn on(&self, device: &str, token: &Token, method: Method, path: &str) -> RequestBuilder {
        self.with(token, method, path).header("X-Device-ID", device)
    }

    /// A request by a browser that has signed in with `token`.
    pub fn by_cookie(&self, token: &Token, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header("Cookie", format!("zenzefi_access_token={}", token.text))
    }

    /// The status that an API client with `token` gets for a GET; `0` if the request was cut, which
    /// may happen to one that is open at the moment when its token ends.
    pub async fn status_for(&self, token: &Token, path: &str) -> u16 {
        self.with(token, Method::GET, path).try_answer().await.map_or(0, |answer| answer.status)
    }

    /// When an active token ends, as the edge tells its holder.
    pub async fn ends_at(&self, token: &Token) -> Instant {
        let status = self.with(token, Method::GET, "/api/v1/proxy/status").answer().await.expect(200);
        let ends_at: DateTime<Utc> = text(&status, "expires_at").parse().expect("a time");
        let left = (ends_at - Utc::now()).to_std().unwrap_or_default();
        Instant::now() + left
    }

    /// The status of `/api/v1/proxy/status` for `token`, which never activates it.
    pub async fn token_status(&self, token: &Token) -> u16 {
        self.status_for(token, "/api/v1/proxy/status").await
    }
}

/// A member of a JSON object that is a text.
#[track_caller]
pub fn text(value: &Value, member: &str) -> String {
    let text = value[member].as_str();
    text.unwrap_or_else(|| panic!("no `{member}` in {value}")).to_owned()
}
