//! `/tokens`: buying access tokens, and what can be done with one's own.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
    types::ToJSON,
};
use serde_json::json;
use shared::token::{scope, state::State};

use super::{
    auth_guard::CurrentUser,
    body::{Body, body},
    tag::Tag,
};
use crate::{
    app::App,
    config::TokenHour,
    db::access_token,
    domain::{access, idempotency::Idempotent, refunds, tokens},
    http::{browser_handoff, error::ApiError},
    input::{Address, Flag, Hours, Id, IdempotencyKey, Method, Networks, RequestPath, Scope, Timestamp, Znc, znc},
    publish::{self, Delivery},
};

/// How many of their tokens a person sees at once; the list does not page.
const MINE_MAX: u64 = 1_000;

pub struct Tokens;

body! {
    pub struct Purchase {
        /// One of 1, 12, 24, 168, 720.
        pub duration_hours: Hours,
        /// `full` if absent.
        pub scope: Option<Scope>,
    }
}

body! {
    pub struct Extend {
        /// One of 1, 12, 24, 168, 720.
        pub duration_hours: Hours,
    }
}

body! {
    /// What is absent stays as it is.
    pub struct Restrict {
        /// From where alone the token may be used; from everywhere, if empty.
        pub allowed_networks: Option<Networks>,
        /// From where it may not be used, even if that is allowed.
        pub denied_networks: Option<Networks>,
    }
}

impl From<Restrict> for tokens::Restriction {
    fn from(body: Restrict) -> Self {
        Self {
            allowed: body.allowed_networks.map(|networks| networks.0),
            denied: body.denied_networks.map(|networks| networks.0),
        }
    }
}

/// A token with its text, which is shown only now.
#[derive(Object)]
pub struct IssuedToken {
    id: Id,
    /// 64 URL-safe characters.
    token: String,
    token_prefix: String,
    duration_hours: i32,
    scope: String,
    cost_znc: Znc,
    created_at: Timestamp,
    #[oai(nullable)]
    activated_at: Option<Timestamp>,
    #[oai(nullable)]
    expires_at: Option<Timestamp>,
    is_active: bool,
    state: String,
}

/// A token without its text.
#[derive(Object)]
pub struct Token {
    id: Id,
    /// The first characters of its text.
    token_prefix: String,
    duration_hours: i32,
    scope: String,
    /// What was paid for it in all.
    cost_znc: Znc,
    created_at: Timestamp,
    #[oai(nullable)]
    activated_at: Option<Timestamp>,
    #[oai(nullable)]
    expires_at: Option<Timestamp>,
    /// Whether it works: its state is `ready` or `active`.
    is_active: bool,
    /// `ready`, `active`, `expired`, `revoked` or `suspended`.
    state: String,
    /// From where alone it may be used; from everywhere, if empty.
    allowed_networks: Vec<String>,
    /// From where it may not be used, even if that is allowed.
    denied_networks: Vec<String>,
}

/// A token from where it may be used now.
#[derive(Object)]
pub struct Restricted {
    #[oai(flatten)]
    token: Token,
    /// Present and true while the edges have not been told yet.
    #[oai(skip_serializing_if_is_none)]
    pending: Option<bool>,
}

impl Restricted {
    pub fn new(token: Token, delivery: Delivery) -> Self {
        Self { token, pending: pending(delivery) }
    }
}

impl Token {
    pub fn new(token: &access_token::Model, hour: TokenHour, user_is_active: bool, now: DateTime<Utc>) -> Self {
        let state = tokens::state(token, hour, user_is_active, now);
        Self {
            id: Id(token.id),
            token_prefix: token.token_prefix.clone(),
            duration_hours: token.duration_hours,
            scope: token.scope.clone(),
            cost_znc: Znc(token.cost),
            created_at: Timestamp(token.created_at),
            activated_at: token.activated_at.map(Timestamp),
            expires_at: token.expires_at(hour).map(Timestamp),
            is_active: matches!(state, State::Ready | State::Active),
            state: state.as_str().to_owned(),
            allowed_networks: token.allowed_networks.clone(),
            denied_networks: token.denied_networks.clone(),
        }
    }
}

impl IssuedToken {
    pub fn new(issued: &tokens::Issued, hour: TokenHour, now: DateTime<Utc>) -> Self {
        let token = Token::new(&issued.token, hour, true, now);
        Self {
            id: token.id,
            token: issued.text.expose().to_owned(),
            token_prefix: token.token_prefix,
            duration_hours: token.duration_hours,
            scope: token.scope,
            cost_znc: token.cost_znc,
            created_at: token.created_at,
            activated_at: token.activated_at,
            expires_at: token.expires_at,
            is_active: token.is_active,
            state: token.state,
        }
    }
}

#[derive(Object)]
struct Refunded {
    /// Always true.
    revoked: bool,
    refund_amount: Znc,
    new_balance: Znc,
    message: String,
    /// Present and true while the edges have not been told yet.
    #[oai(skip_serializing_if_is_none)]
    pending: Option<bool>,
}

#[derive(Object)]
struct Opened {
    /// Good once, for 30 seconds.
    url: String,
}

#[derive(Object)]
struct Released {
    /// Always true.
    released: bool,
    token_id: Id,
    /// Present and true while the edges have not been told yet.
    #[oai(skip_serializing_if_is_none)]
    pending: Option<bool>,
}

/// What an edge would say to a request.
#[derive(Object)]
struct Access {
    allowed: bool,
    /// A sentence.
    reason: String,
    scope: String,
    /// `ready`, `active`, `expired`, `revoked` or `suspended`.
    state: String,
}

impl From<access::Access> for Access {
    fn from(access: access::Access) -> Self {
        let state = access.state.as_str().to_owned();
        Self { allowed: access.allowed, reason: access.reason, scope: access.scope, state }
    }
}

/// The answer of a dry run as a command prints it.
pub fn access_json(access: access::Access) -> String {
    Access::from(access).to_json_string()
}

#[derive(ApiResponse)]
enum Purchased {
    /// The token.
    #[oai(status = 201)]
    Created(Json<IssuedToken>),
}

#[OpenApi(prefix_path = "/api/v1/tokens", tag = "Tag::Tokens")]
impl Tokens {
    /// Buys a token
    ///
    /// It works on every edge by the time this answers, as long as Redis is up.
    #[oai(path = "/purchase", method = "post", operation_id = "purchase_token")]
    async fn purchase(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        /// Makes repeating the call safe: the same key and body are the same purchase, for 24 hours
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Body<Purchase>,
    ) -> Result<Purchased, ApiError> {
        let App { db, prices, publisher, config, sealer, .. } = &***app;
        let hours = body.0.duration_hours.0;
        let scope = body.0.scope.map_or(scope::Scope::Full, |scope| scope.0);
        let request = json!({ "duration_hours": hours, "scope": scope.as_str() });
        let once = key.0.as_ref().map(|key| Idempotent { sealer, endpoint: "tokens/purchase", key: &key.0, request });
        let issued = tokens::purchase(db, prices, &user.0, hours, scope, once.as_ref()).await?;
        let (issued, _) = publish::deliver(db, publisher, issued).await;
        Ok(Purchased::Created(Json(IssuedToken::new(&issued, config.hour, Utc::now()))))
    }

    /// The caller's tokens, newest first
    #[oai(path = "/my-tokens", method = "get", operation_id = "list_my_tokens")]
    async fn mine(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        /// Whether to hide what is revoked or expired; true if absent
        active_only: Query<Option<Flag>>,
    ) -> Result<Json<Vec<Token>>, ApiError> {
        let (hour, now) = (app.config.hour, Utc::now());
        let live_at = active_only.0.is_none_or(|only| only.0).then_some(now);
        let filter = access_token::Filter { user_id: Some(user.0.user.id), live_at };
        let (owned, _) = access_token::list(&app.db, hour, &filter, MINE_MAX, 0).await?;
        Ok(Json(owned.iter().map(|owned| Token::new(&owned.token, hour, owned.user_is_active, now)).collect()))
    }

    /// Sets from where a token may be used
    ///
    /// What is open from elsewhere ends. The user may be kept to other networks besides; both must
    /// let an address in.
    #[oai(path = "/:id", method = "patch", operation_id = "restrict_token")]
    async fn restrict(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        id: Path<Id>,
        body: Body<Restrict>,
    ) -> Result<Json<Restricted>, ApiError> {
        let App { db, publisher, config, .. } = &***app;
        let now = Utc::now();
        let token = tokens::restrict(db, config.hour, &user.0, id.0.0, body.0.into(), now).await?;
        let (token, delivery) = publish::deliver(db, publisher, token).await;
        Ok(Json(Restricted::new(Token::new(&token, config.hour, true, now), delivery)))
    }

    /// Gives back a token that was never used, for what was paid for it
    #[oai(path = "/:id", method = "delete", operation_id = "refund_token")]
    async fn refund(&self, app: Data<&Arc<App>>, user: CurrentUser, id: Path<Id>) -> Result<Json<Refunded>, ApiError> {
        let App { db, publisher, config, .. } = &***app;
        let id = id.0.0;
        let refund = refunds::refund(db, publisher, config.refund_hold, &user.0, id).await?;
        let (refund, delivery) = publish::deliver(db, publisher, refund).await;
        Ok(Json(Refunded {
            revoked: true,
            refund_amount: Znc(refund.amount),
            new_balance: Znc(refund.new_balance),
            message: format!("Token revoked. {} ZNC refunded.", znc(refund.amount)),
            pending: pending(delivery),
        }))
    }

    /// Buys more hours for a token
    ///
    /// Its credentials stay as they are, and open connections keep going.
    #[oai(path = "/:id/extend", method = "post", operation_id = "extend_token")]
    async fn extend(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        id: Path<Id>,
        /// Makes repeating the call safe: the same key and body are the same extension, for 24
        /// hours
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Body<Extend>,
    ) -> Result<Json<Token>, ApiError> {
        let App { db, prices, publisher, config, sealer, .. } = &***app;
        let (id, hours) = (id.0.0, body.0.duration_hours.0);
        let request = json!({ "id": id, "duration_hours": hours });
        let once = key.0.as_ref().map(|key| Idempotent { sealer, endpoint: "tokens/extend", key: &key.0, request });
        let terms = tokens::Terms { prices, hour: config.hour, now: Utc::now() };
        let extended = tokens::extend(db, &terms, &user.0, id, hours, once.as_ref()).await?;
        let (extended, _) = publish::deliver(db, publisher, extended).await;
        Ok(Json(Token::new(&extended.token, config.hour, true, extended.at)))
    }

    /// Gives a token a new text
    ///
    /// For who lost it: whatever named the token before opens nothing any more.
    #[oai(path = "/:id/rotate", method = "post", operation_id = "rotate_token")]
    async fn rotate(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        id: Path<Id>,
    ) -> Result<Json<IssuedToken>, ApiError> {
        let App { db, publisher, config, .. } = &***app;
        let issued = tokens::rotate(db, config.hour, &user.0, id.0.0, Utc::now()).await?;
        let (issued, _) = publish::deliver(db, publisher, issued).await;
        Ok(Json(IssuedToken::new(&issued, config.hour, Utc::now())))
    }

    /// Hands a token over to a browser
    ///
    /// The browser that opens the URL gets a credential of its own.
    #[oai(path = "/:id/open", method = "post", operation_id = "open_token")]
    async fn open(&self, app: Data<&Arc<App>>, user: CurrentUser, id: Path<Id>) -> Result<Json<Opened>, ApiError> {
        Ok(Json(Opened { url: browser_handoff::open(&app, &user.0, id.0.0, None).await? }))
    }

    /// Takes a token away from the device that holds it
    ///
    /// What is open there ends, and the next device that comes has the token.
    #[oai(path = "/:id/release-device", method = "post", operation_id = "release_device")]
    async fn release_device(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        id: Path<Id>,
    ) -> Result<Json<Released>, ApiError> {
        let App { db, publisher, config, .. } = &***app;
        let id = id.0.0;
        let released = tokens::release_device(db, config.hour, &user.0, id, Utc::now()).await?;
        let ((), delivery) = publish::deliver(db, publisher, released).await;
        Ok(Json(Released { released: true, token_id: Id(id), pending: pending(delivery) }))
    }

    /// Tells whether a request with a token would be let through, and why not
    #[oai(path = "/:id/access", method = "get", operation_id = "try_access")]
    async fn access(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        id: Path<Id>,
        /// The request's method; a scope opens its paths to every one
        #[oai(name = "method")]
        _method: Query<Option<Method>>,
        /// The path as Zenzefi would get it
        path: Query<RequestPath>,
        /// The client's address; wherever the token may be used from if absent
        address: Query<Option<Address>>,
    ) -> Result<Json<Access>, ApiError> {
        let owned = tokens::find(&app.db, user.0.user.id, id.0.0).await?;
        let attempt = access::Attempt { path: &path.0.0, address: address.0.map(|address| address.0) };
        Ok(Json(access::dry_run(&owned, app.config.hour, &attempt, Utc::now())?.into()))
    }
}

/// What an answer says of a revocation that Redis has not taken yet.
pub fn pending(delivery: Delivery) -> Option<bool> {
    (delivery == Delivery::Pending).then_some(true)
}
