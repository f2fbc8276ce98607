//! The private listener: metrics, whether the process lives, and whether it can work.

use std::{sync::Arc, time::Duration};

use poem::{Endpoint, EndpointExt, Response, Route, endpoint::make, get, http::StatusCode};
use serde_json::json;

use crate::{app::App, db, http::error};

/// How long a dependency may take to answer.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// Everything that the private listener answers.
pub fn endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> + 'static {
    let (metrics, ready) = (Arc::clone(&app), app);
    Route::new()
        .at("/livez", get(make(|_| async { "ok" })))
        .at(
            "/metrics",
            get(make(move |_| {
                let text = metrics.metrics.render();
                async { Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text) }
            })),
        )
        .at(
            "/readyz",
            get(make(move |_| {
                let app = Arc::clone(&ready);
                async move { readiness(&app).await }
            })),
        )
        .catch_all_error(|error| async move { error::respond(error) })
        .map_to_response()
}

async fn readiness(app: &App) -> Response {
    let reasons = reasons(app).await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let answer = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    Response::builder().status(status).content_type("application/json").body(answer.to_string())
}

/// Why this replica should get no requests now.
async fn reasons(app: &App) -> Vec<String> {
    let postgres = tokio::time::timeout(PROBE_WITHIN, db::pending_migrations(&app.db));
    let redis = tokio::time::timeout(PROBE_WITHIN, app.publisher.server());
    let (postgres, redis) = tokio::join!(postgres, redis);
    let mut reasons = Vec::new();
    if app.stop.is_cancelled() {
        reasons.push("shutting down".to_owned());
    }
    match postgres {
        Ok(Ok(pending)) if pending.is_empty() => {}
        Ok(Ok(pending)) => reasons.push(format!("migrations pending: {}", pending.join(", "))),
        Ok(Err(_)) | Err(_) => reasons.push("postgres does not answer".to_owned()),
    }
    match redis {
        Ok(Ok(server)) if server.maxmemory_policy == "noeviction" || app.config.allow_eviction => {}
        Ok(Ok(server)) => {
            reasons.push(format!("redis may evict keys: maxmemory-policy is {}", server.maxmemory_policy))
        }
        Ok(Err(_)) | Err(_) => reasons.push("redis does not answer".to_owned()),
    }
    reasons
}
