//! Rights as types: a handler that takes a [`CurrentUser`] or a [`Superuser`] cannot run without one.

use std::sync::{Arc, OnceLock};

use poem::{Request, Result};
use poem_openapi::{SecurityScheme, auth::Bearer};
use uuid::Uuid;

use super::error::ApiError;
use crate::{
    App,
    domain::{
        self,
        accounts::{self, Session},
        audit::Origin,
    },
};

/// Who a request turns out to be from, for the access line.
#[derive(Debug, Default)]
pub struct Recognised(OnceLock<Uuid>);

impl Recognised {
    pub fn user_id(&self) -> Option<Uuid> {
        self.0.get().copied()
    }

    pub fn note(&self, user_id: Uuid) {
        self.0.get_or_init(|| user_id);
    }
}

/// Whoever is logged in.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "session")]
pub struct CurrentUser(pub Session);

/// Whoever is logged in and has admin rights.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "superuser_session")]
pub struct Superuser(pub Session);

async fn session(request: &Request, bearer: Bearer) -> Result<Session> {
    let app = request.data::<Arc<App>>().expect("every route is served with the app");
    let origin = request.data::<Origin>().cloned().unwrap_or_default();
    let claims = app.keys.read(&bearer.token).ok_or(ApiError::from(domain::Error::InvalidJwt))?;
    let session = accounts::authenticate(&app.db, &claims, origin).await.map_err(ApiError::from)?;
    if let Some(recognised) = request.data::<Arc<Recognised>>() {
        recognised.note(session.user.id);
    }
    app.limits.call(session.user.id).await.map_err(ApiError::too_many_calls)?;
    Ok(session)
}

async fn superuser_session(request: &Request, bearer: Bearer) -> Result<Session> {
    let session = session(request, bearer).await?;
    if session.user.is_superuser {
        Ok(session)
    } else {
        Err(ApiError::forbidden("Superuser permissions required").into())
    }
}
