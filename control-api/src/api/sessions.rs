//! Sessions: who uses tokens from where, and how much. Superusers see everyone's and can end one;
//! people see their own.

use std::sync::Arc;

use chrono::Utc;
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{
    auth_guard::{CurrentUser, Superuser},
    tag::Tag,
    tokens::pending,
};
use crate::{
    app::App,
    db::session,
    domain::sessions,
    http::error::ApiError,
    input::{Flag, Id, Limit, Offset, Timestamp},
    publish,
};

pub struct Sessions;

/// One token on one device.
#[derive(Object)]
struct Session {
    id: Id,
    user_id: Id,
    token_id: Id,
    device_id: String,
    /// Of the first request, as are the agent.
    #[oai(nullable)]
    ip_address: Option<String>,
    #[oai(nullable)]
    user_agent: Option<String>,
    started_at: Timestamp,
    last_activity: Timestamp,
    #[oai(nullable)]
    ended_at: Option<Timestamp>,
    /// Bytes of bodies towards Zenzefi.
    bytes_in: i64,
    /// Bytes of bodies towards the client.
    bytes_out: i64,
    request_count: i64,
    open_connections: i64,
    /// Whether it has not ended.
    is_active: bool,
}

impl From<session::Session> for Session {
    fn from(session: session::Session) -> Self {
        Self {
            id: Id(session.id),
            user_id: Id(session.user_id),
            token_id: Id(session.token_id),
            device_id: session.device_id,
            ip_address: session.ip_address,
            user_agent: session.user_agent,
            started_at: Timestamp(session.started_at),
            last_activity: Timestamp(session.last_activity),
            ended_at: session.ended_at.map(Timestamp),
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            request_count: session.requests,
            open_connections: session.open_connections,
            is_active: session.ended_at.is_none(),
        }
    }
}

#[derive(Object)]
struct SessionPage {
    items: Vec<Session>,
    /// 10 000 stands for that many or more.
    total: u64,
    limit: u64,
    offset: u64,
}

#[derive(Object)]
struct Ended {
    /// Always true.
    ended: bool,
    session_id: Id,
    /// Present and true while the edges have not been told yet.
    #[oai(skip_serializing_if_is_none)]
    pending: Option<bool>,
}

#[OpenApi(prefix_path = "/api/v1")]
impl Sessions {
    /// Sessions, newest first
    #[oai(path = "/admin/sessions", method = "get", operation_id = "list_sessions", tag = "Tag::Admin")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn sessions(
        &self,
        app: Data<&Arc<App>>,
        _superuser: Superuser,
        limit: Query<Option<Limit>>,
        offset: Query<Option<Offset>>,
        user_id: Query<Option<Id>>,
        token_id: Query<Option<Id>>,
        /// Whether to hide what has ended; true if absent
        active_only: Query<Option<Flag>>,
    ) -> Result<Json<SessionPage>, ApiError> {
        let filter = session::Filter {
            user_id: user_id.0.map(|id| id.0),
            token_id: token_id.0.map(|id| id.0),
            active_only: active_only.0.is_none_or(|only| only.0),
        };
        page(&app, &filter, limit.0, offset.0).await
    }

    /// Ends a session
    ///
    /// What its device has open ends, and the token is free for another. Doing it again changes
    /// nothing.
    #[oai(path = "/admin/sessions/:id", method = "delete", operation_id = "end_session", tag = "Tag::Admin")]
    async fn end(&self, app: Data<&Arc<App>>, superuser: Superuser, id: Path<Id>) -> Result<Json<Ended>, ApiError> {
        let App { db, publisher, .. } = &***app;
        let id = id.0.0;
        let ended = sessions::end(db, &superuser.0, id).await?;
        let (token_id, delivery) = publish::deliver(db, publisher, ended).await;
        tracing::info!(by = %superuser.0.user.id, session_id = %id, %token_id, "a session was ended");
        Ok(Json(Ended { ended: true, session_id: Id(id), pending: pending(delivery) }))
    }

    /// The caller's sessions, newest first
    #[oai(path = "/users/me/sessions", method = "get", operation_id = "list_my_sessions", tag = "Tag::Users")]
    async fn mine(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        limit: Query<Option<Limit>>,
        offset: Query<Option<Offset>>,
        /// Whether to hide what has ended; true if absent
        active_only: Query<Option<Flag>>,
    ) -> Result<Json<SessionPage>, ApiError> {
        let user_id = Some(user.0.user.id);
        let filter = session::Filter { user_id, token_id: None, active_only: active_only.0.is_none_or(|only| only.0) };
        page(&app, &filter, limit.0, offset.0).await
    }
}

async fn page(
    app: &App,
    filter: &session::Filter,
    limit: Option<Limit>,
    offset: Option<Offset>,
) -> Result<Json<SessionPage>, ApiError> {
    let (limit, offset) = (limit.unwrap_or_default().0, offset.unwrap_or_default().0);
    let reported_since = app.reported_since(Utc::now());
    let (sessions, total) = session::list(&app.db, filter, reported_since, limit, offset).await?;
    Ok(Json(SessionPage { items: sessions.into_iter().map(Session::from).collect(), total, limit, offset }))
}
