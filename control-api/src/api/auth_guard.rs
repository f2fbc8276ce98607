//! Rights as types: a handler that takes a [`CurrentUser`] or a [`Superuser`] cannot run without
//! one.

use std::sync::Arc;

use poem::{Request, Result};
use poem_openapi::{SecurityScheme, auth::Bearer};

use crate::{
    app::App,
    domain::{
        self,
        accounts::{self, Session},
        audit::Origin,
    },
    http::{caller::RequestUser, error::ApiError},
};

/// A user who is logged in.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "session")]
pub struct CurrentUser(pub Session);

/// A user who is logged in and has admin rights.
#[derive(SecurityScheme)]
#[oai(rename = "bearer", ty = "bearer", bearer_format = "JWT", checker = "superuser_session")]
pub struct Superuser(pub Session);

async fn session(request: &Request, bearer: Bearer) -> Result<Session> {
    let app = request.data::<Arc<App>>().expect("every route is served with the app");
    let origin = request.data::<Origin>().cloned().unwrap_or_default();
    let claims = app.keys.read(&bearer.token).ok_or(ApiError::from(domain::Error::InvalidJwt))?;
    let session = accounts::authenticate(&app.db, &claims, origin).await.map_err(ApiError::from)?;
    if let Some(recognised) = request.data::<Arc<RequestUser>>() {
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
