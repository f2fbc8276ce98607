//! `/admin`: what superusers see of and do to other people's accounts and tokens. No answer holds a
//! token's text.

use std::sync::Arc;

use chrono::Utc;
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{
    auth_guard::Superuser,
    body::{Body, body},
    tag::Tag,
    tokens::{Restrict, Restricted, Token, pending},
};
use crate::{
    app::App,
    db::{access_token, user},
    domain::administration,
    http::error::ApiError,
    input::{Flag, Id, Limit, Networks, Offset, Reason, Search, Timestamp, Znc},
    links::password_link,
    publish,
};

pub struct Admin;

/// An account, as an admin sees it.
#[derive(Object)]
struct UserForAdmin {
    id: Id,
    email: String,
    username: String,
    #[oai(nullable)]
    full_name: Option<String>,
    is_active: bool,
    is_superuser: bool,
    currency_balance: Znc,
    /// From where alone the account's tokens may be used; from everywhere, if empty.
    allowed_networks: Vec<String>,
    /// From where they may not be used, even if that is allowed.
    denied_networks: Vec<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<user::Model> for UserForAdmin {
    fn from(user: user::Model) -> Self {
        Self {
            id: Id(user.id),
            email: user.email,
            username: user.username,
            full_name: user.full_name,
            is_active: user.is_active,
            is_superuser: user.is_superuser,
            currency_balance: Znc(user.currency_balance),
            allowed_networks: user.allowed_networks,
            denied_networks: user.denied_networks,
            created_at: Timestamp(user.created_at),
            updated_at: Timestamp(user.updated_at),
        }
    }
}

#[derive(Object)]
struct UserPage {
    items: Vec<UserForAdmin>,
    /// 10 000 stands for that many or more.
    total: u64,
    limit: u64,
    offset: u64,
}

/// A token without its text, with whom it belongs to.
#[derive(Object)]
struct TokenForAdmin {
    #[oai(flatten)]
    token: Token,
    user_id: Id,
    #[oai(nullable)]
    revoked_at: Option<Timestamp>,
    user_email: String,
    user_username: String,
}

#[derive(Object)]
struct TokenPage {
    items: Vec<TokenForAdmin>,
    /// 10 000 stands for that many or more.
    total: u64,
    limit: u64,
    offset: u64,
}

body! {
    /// What is absent stays as it is.
    pub struct ChangeUser {
        pub is_active: Option<Flag>,
        pub is_superuser: Option<Flag>,
        pub currency_balance: Option<Znc>,
        /// From where alone the account's tokens may be used; from everywhere, if empty.
        pub allowed_networks: Option<Networks>,
        /// From where they may not be used, even if that is allowed.
        pub denied_networks: Option<Networks>,
        pub reason: Option<Reason>,
    }
}

#[derive(Object)]
struct Revoked {
    /// Always true.
    revoked: bool,
    token_id: Id,
    message: String,
    /// Present and true while the edges have not been told yet.
    #[oai(skip_serializing_if_is_none)]
    pending: Option<bool>,
}

#[derive(Object)]
struct PasswordLink {
    /// Opens a page that sets the password, once.
    url: String,
    expires_at: Timestamp,
}

#[derive(Object)]
struct LoginFailuresCleared {
    /// Always true.
    cleared: bool,
    user_id: Id,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Admin")]
impl Admin {
    /// Accounts, newest first
    #[oai(path = "/users", method = "get", operation_id = "list_users")]
    async fn users(
        &self,
        app: Data<&Arc<App>>,
        _superuser: Superuser,
        limit: Query<Option<Limit>>,
        offset: Query<Option<Offset>>,
        /// A part of the e-mail or the username, in any case
        search: Query<Option<Search>>,
        is_active: Query<Option<Flag>>,
    ) -> Result<Json<UserPage>, ApiError> {
        let (limit, offset) = (limit.0.unwrap_or_default().0, offset.0.unwrap_or_default().0);
        let search = search.0.map(|search| search.0).filter(|search| !search.is_empty());
        let filter = user::Filter { search, is_active: is_active.0.map(|flag| flag.0) };
        let (users, total) = user::list(&app.db, &filter, limit, offset).await?;
        Ok(Json(UserPage { items: users.into_iter().map(UserForAdmin::from).collect(), total, limit, offset }))
    }

    /// Changes an account
    ///
    /// Disabling it ends its logins and suspends its tokens on every edge; enabling it restores
    /// them. What is open with its tokens from where they may no longer be used ends.
    #[oai(path = "/users/:id", method = "patch", operation_id = "change_user")]
    async fn change_user(
        &self,
        app: Data<&Arc<App>>,
        superuser: Superuser,
        id: Path<Id>,
        body: Body<ChangeUser>,
    ) -> Result<Json<UserForAdmin>, ApiError> {
        let change = administration::UserChange {
            is_active: body.0.is_active.map(|flag| flag.0),
            is_superuser: body.0.is_superuser.map(|flag| flag.0),
            balance: body.0.currency_balance.map(|amount| amount.0),
            allowed_networks: body.0.allowed_networks.map(|networks| networks.0),
            denied_networks: body.0.denied_networks.map(|networks| networks.0),
            reason: body.0.reason.map(|reason| reason.0),
        };
        let user = administration::change_user(&app.db, app.config.hour, &superuser.0, id.0.0, change).await?.later();
        tracing::info!(by = %superuser.0.user.id, user_id = %user.id, "an account was changed");
        Ok(Json(user.into()))
    }

    /// Draws a link by which a user sets a new password, once
    #[oai(path = "/users/:id/password-link", method = "post", operation_id = "draw_password_link")]
    async fn password_link(
        &self,
        app: Data<&Arc<App>>,
        superuser: Superuser,
        id: Path<Id>,
    ) -> Result<Json<PasswordLink>, ApiError> {
        let user_id = id.0.0;
        let link = administration::draw_password_link(&app.db, &superuser.0, user_id, Utc::now()).await?;
        tracing::info!(by = %superuser.0.user.id, %user_id, "a password link was drawn");
        let url = password_link(&app.config.control_origin, &link.code);
        Ok(Json(PasswordLink { url, expires_at: Timestamp(link.expires_at) }))
    }

    /// Forgets the failed logins of an account, so that it can be logged in to at once from
    /// wherever
    #[oai(path = "/users/:id/login-failures", method = "delete", operation_id = "clear_login_failures")]
    async fn clear_login_failures(
        &self,
        app: Data<&Arc<App>>,
        superuser: Superuser,
        id: Path<Id>,
    ) -> Result<Json<LoginFailuresCleared>, ApiError> {
        let user_id = id.0.0;
        administration::clear_login_failures(&app.db, &app.login_throttle, &superuser.0, user_id).await?;
        tracing::info!(by = %superuser.0.user.id, %user_id, "failed logins were forgotten");
        Ok(Json(LoginFailuresCleared { cleared: true, user_id: id.0 }))
    }

    /// Tokens, newest first
    #[oai(path = "/tokens", method = "get", operation_id = "list_tokens")]
    async fn tokens(
        &self,
        app: Data<&Arc<App>>,
        _superuser: Superuser,
        limit: Query<Option<Limit>>,
        offset: Query<Option<Offset>>,
        user_id: Query<Option<Id>>,
        /// Whether to hide what is revoked or expired; true if absent
        active_only: Query<Option<Flag>>,
    ) -> Result<Json<TokenPage>, ApiError> {
        let (hour, now) = (app.config.hour, Utc::now());
        let (limit, offset) = (limit.0.unwrap_or_default().0, offset.0.unwrap_or_default().0);
        let live_at = active_only.0.is_none_or(|only| only.0).then_some(now);
        let filter = access_token::Filter { user_id: user_id.0.map(|id| id.0), live_at };
        let (owned, total) = access_token::list(&app.db, hour, &filter, limit, offset).await?;
        let items = owned.into_iter().map(|owned| TokenForAdmin {
            token: Token::new(&owned.token, hour, owned.user_is_active, now),
            user_id: Id(owned.token.user_id),
            revoked_at: owned.token.revoked_at.map(Timestamp),
            user_email: owned.user_email,
            user_username: owned.user_username,
        });
        Ok(Json(TokenPage { items: items.collect(), total, limit, offset }))
    }

    /// Sets from where a token may be used, as its owner may
    #[oai(path = "/tokens/:id", method = "patch", operation_id = "restrict_any_token")]
    async fn restrict(
        &self,
        app: Data<&Arc<App>>,
        superuser: Superuser,
        id: Path<Id>,
        body: Body<Restrict>,
    ) -> Result<Json<Restricted>, ApiError> {
        let App { db, publisher, config, .. } = &***app;
        let id = id.0.0;
        let restricted = administration::restrict_token(db, config.hour, &superuser.0, id, body.0.into()).await?;
        tracing::info!(by = %superuser.0.user.id, token_id = %id, "a token was restricted");
        let (_, delivery) = publish::deliver(db, publisher, restricted).await;
        let owned = access_token::find(db, id).await?.ok_or(crate::domain::Error::TokenNotFound)?;
        let token = Token::new(&owned.token, config.hour, owned.user_is_active, Utc::now());
        Ok(Json(Restricted::new(token, delivery)))
    }

    /// Revokes a token, used or not, without a refund
    #[oai(path = "/tokens/:id", method = "delete", operation_id = "revoke_token")]
    async fn revoke(
        &self,
        app: Data<&Arc<App>>,
        superuser: Superuser,
        id: Path<Id>,
    ) -> Result<Json<Revoked>, ApiError> {
        let App { db, publisher, .. } = &***app;
        let id = id.0.0;
        let revoked = administration::revoke_token(db, &superuser.0, id).await?;
        tracing::info!(by = %superuser.0.user.id, token_id = %id, "a token was revoked");
        let ((), delivery) = publish::deliver(db, publisher, revoked).await;
        Ok(Json(Revoked {
            revoked: true,
            token_id: Id(id),
            message: format!("Token {id} revoked successfully (no refund issued)"),
            pending: pending(delivery),
        }))
    }
}
