//! What is not the API: the root, the health check, the document and the two ways to browse it.
//! Every asset is served from here.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{SecondsFormat, Utc};
use poem::{Endpoint, IntoResponse, Response, Route, endpoint::make_sync, get, http::header};
use serde_json::json;
use sha2::{Digest, Sha256};

/// ReDoc's standalone bundle, as published on npm in `redoc` 2.5.4 (MIT; its licence is beside it).
const REDOC_SCRIPT: &str = include_str!("../../assets/redoc.standalone.js");

const REDOC_PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Zenzefi Gateway API</title>
<style>body { margin: 0 }</style>
</head>
<body>
<redoc spec-url="/openapi.json"></redoc>
<script src="/redoc/redoc.standalone.js"></script>
</body>
</html>
"#;

/// What the pages may do besides running the scripts that they came with: they write styles inline
/// and work in a worker, and call no other host.
const BROWSER_POLICY: &str = "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
    connect-src 'self'; worker-src blob:; child-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the pages.
pub fn routes(swagger_page: String, document: String) -> Route {
    Route::new()
        .at("/", get(make_sync(|_| root())))
        .at("/health", get(make_sync(|_| health())))
        .at("/openapi.json", text("application/json", document))
        .at("/docs", page(swagger_page))
        .at("/redoc", page(REDOC_PAGE.to_owned()))
        .at("/redoc/redoc.standalone.js", text("text/javascript; charset=utf-8", REDOC_SCRIPT.to_owned()))
}

fn root() -> Response {
    let links = json!({
        "health": "/health",
        "docs": "/docs",
        "redoc": "/redoc",
        "openapi": "/openapi.json",
        "console": "/console",
    });
    json_answer(&json!({ "name": "Zenzefi Gateway", "version": env!("CARGO_PKG_VERSION"), "links": links }))
}

/// Says that the program answers; whether it can work is `/readyz` on the private listener.
fn health() -> Response {
    let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    json_answer(&json!({ "status": "healthy", "timestamp": timestamp }))
}

fn json_answer(value: &serde_json::Value) -> Response {
    Response::builder()
        .content_type("application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .body(value.to_string())
}

fn page(html: String) -> impl Endpoint {
    let policy = format!("default-src 'none'; script-src 'self'{}; {BROWSER_POLICY}", script_hashes(&html));
    let html = bytes::Bytes::from(html);
    get(make_sync(move |_| {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(header::CONTENT_SECURITY_POLICY, policy.as_str())
            .header(header::CACHE_CONTROL, "no-cache")
            .body(html.clone())
            .into_response()
    }))
}

/// The hashes of the scripts that stand in a page of ours (CSP level 3 §2.3.1): those run, and none
/// that anybody adds.
fn script_hashes(mut html: &str) -> String {
    let mut hashes = String::new();
    while let Some((_, rest)) = html.split_once("<script") {
        let tag = rest.split_once('>').and_then(|(_, rest)| rest.split_once("</script>"));
        let Some((script, rest)) = tag else { break };
        if !script.is_empty() {
            hashes.extend([" 'sha256-", &STANDARD.encode(Sha256::digest(script)), "'"]);
        }
        html = rest;
    }
    hashes
}

fn text(content_type: &'static str, text: String) -> impl Endpoint {
    let text = bytes::Bytes::from(text);
    get(make_sync(move |_| {
        Response::builder()
            .content_type(content_type)
            .header(header::CACHE_CONTROL, "no-cache")
            .body(text.clone())
            .into_response()
    }))
}
