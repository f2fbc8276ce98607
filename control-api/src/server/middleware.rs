//! The outermost layer of the public listener: request ids, bounds on what a request may cost,
//! CORS, refusals as problem JSON, the access line. Written here because poem's own layers trust
//! headers that they should not, log queries, or answer in plain text.

use std::{
    net::IpAddr,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt};
use poem::{
    Body, Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
};
use serde_json::Value;
use shared::process::trace::{self, Span};
use uuid::Uuid;

use crate::{
    app::App,
    console,
    domain::audit::Origin,
    http::{
        caller::RequestUser,
        error::{self, ApiError},
    },
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HEALTH: &str = "/health";
/// The most characters of an agent that are kept.
const AGENT_CHARS: usize = 512;
/// Headers that decide something. poem takes one that is not ASCII for absent, so it is refused
/// before that.
const READ: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ORIGIN,
    HeaderName::from_static("idempotency-key"),
    REQUEST_ID,
];
const REQUEST_ID_CHARS: usize = 128;
const BODY_BYTES: usize = 64 * 1024;
/// How much of a body that is too large is read away.
const READ_AWAY_BYTES: usize = 16 * 1024 * 1024;
/// How long a body may take to arrive, and how long the work on a request may then take.
const BODY_WITHIN: Duration = Duration::from_secs(15);
const WORK_WITHIN: Duration = Duration::from_secs(30);
const PREFLIGHT_SECONDS: &str = "600";

/// Which methods each path knows, for `Allow`.
pub struct Methods(Vec<(String, String)>);

impl Methods {
    /// Those of an OpenAPI document.
    pub fn of(document: &str) -> Self {
        let document: Value = serde_json::from_str(document).expect("the document is JSON");
        let paths = document["paths"].as_object().into_iter().flatten();
        Self(
            paths
                .filter_map(|(path, operations)| {
                    let methods = operations.as_object()?.keys().map(|method| method.to_uppercase());
                    Some((path.clone(), methods.collect::<Vec<_>>().join(", ")))
                })
                .collect(),
        )
    }

    /// With those of a page that knows more than every page does.
    pub fn with(mut self, path: &str, methods: &str) -> Self {
        self.0.push((path.to_owned(), methods.to_owned()));
        self
    }

    /// With those of pages that take a form.
    pub fn with_all(self, forms: &[(&str, &str)]) -> Self {
        forms.iter().fold(self, |methods, (path, known)| methods.with(path, known))
    }

    /// What a path that is not listed knows is what every page knows.
    fn allowed(&self, path: &str) -> &str {
        self.find(path).map_or("GET, HEAD", |(_, methods)| methods)
    }

    /// A path with names in the place of what differs from one call to the next; `pages` for all
    /// that are not listed.
    fn route(&self, path: &str) -> &str {
        self.find(path).map_or("pages", |(template, _)| template)
    }

    fn find(&self, path: &str) -> Option<&(String, String)> {
        let exact = self.0.iter().find(|(template, _)| template == path);
        exact.or_else(|| self.0.iter().find(|(template, _)| matches(template, path)))
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(expected), Some(given)) if expected == given || expected.starts_with('{') => {}
            _ => return false,
        }
    }
}

/// Wraps the routes.
pub struct Layer<E> {
    inner: E,
    app: Arc<App>,
    methods: Methods,
}

impl<E> Layer<E> {
    pub fn new(inner: E, app: Arc<App>, methods: Methods) -> Self {
        Self { inner, app, methods }
    }
}

impl<E: Endpoint> Endpoint for Layer<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let request_id = request_id(request.headers());
        let origin = request.headers().get(header::ORIGIN).cloned();
        let client = self.client(&request);
        let user_agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let user_agent = user_agent.map(|agent| agent.chars().take(AGENT_CHARS).collect());
        let lines = request.headers().get_all(trace::HEADER).iter().map(HeaderValue::as_bytes);
        let span = Span::of_request(lines, || self.is_from_trusted_proxy(&request));
        let caller = Origin { ip_address: client, user_agent, request_id: Some(request_id.clone()) };

        let recognised = Arc::<RequestUser>::default();
        let answer = self.answer(request, &method, &path, caller, Arc::clone(&recognised));
        let mut response = span.around(answer).await;
        self.finish(&mut response, &path, origin, &request_id);

        let (status, took) = (response.status().as_u16(), started.elapsed());
        let took_ms = took.as_secs_f64() * 1_000.0;
        self.app.metrics.answered(known(&method), status, took);
        let client = client.map(tracing::field::display);
        let trace_id = span.trace_id().map(tracing::field::display);
        let user_id = recognised.user_id().map(tracing::field::display);
        tracing::info!(%request_id, %method, path, status, took_ms, client, user_id, trace_id, "answered");
        if span.is_told() {
            let route = self.methods.route(&path);
            span.rename(format!("{} {route}", known(&method)));
            span.note("http.request.method", known(&method));
            span.note("http.route", route.to_owned());
            span.note("http.response.status_code", i64::from(status));
            span.note("gateway.request_id", request_id);
            if let Some(user_id) = recognised.user_id() {
                span.note("user.id", user_id.to_string());
            }
            if status >= 500 {
                span.failed("not served");
            }
        }
        span.end();
        Ok(response)
    }
}

impl<E: Endpoint> Layer<E> {
    /// Whether the peer itself is a proxy that is trusted, as edges are.
    fn is_from_trusted_proxy(&self, request: &Request) -> bool {
        let peer = request.remote_addr().as_socket_addr();
        peer.is_some_and(|peer| self.app.config.trusted_proxies.contains(peer.ip()))
    }

    /// The client's address, past the proxies that are trusted.
    fn client(&self, request: &Request) -> Option<IpAddr> {
        let peer = request.remote_addr().as_socket_addr()?.ip();
        let forwarded = request.headers().get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default());
        Some(self.app.config.trusted_proxies.client(peer, forwarded))
    }

    async fn answer(
        &self,
        request: Request,
        method: &Method,
        path: &str,
        caller: Origin,
        recognised: Arc<RequestUser>,
    ) -> Response {
        let unreadable =
            |name: &&HeaderName| request.headers().get_all(*name).iter().any(|value| value.to_str().is_err());
        let is_refused = caller.ip_address.is_some_and(|address| !self.app.may_come(address));
        // Whether this program is well is told to everybody.
        if is_refused && path != HEALTH {
            return ApiError::forbidden("Access from this address is not allowed").into_response();
        }
        if READ.iter().any(|name| unreadable(&name)) {
            return ApiError::bad_request("A header holds what is not visible ASCII").into_response();
        }
        if let Some(preflight) = self.preflight(&request).filter(|_| !console::url::is_page(path)) {
            return preflight;
        }
        let mut request = match bounded(request).await {
            Ok(request) => request,
            Err(refusal) => return refusal.into_response(),
        };
        let request_id = caller.request_id.clone();
        request.set_data(caller);
        request.set_data(recognised);
        let work = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        match tokio::time::timeout(WORK_WITHIN, work).await {
            Ok(Ok(Ok(response))) => response.into_response(),
            Ok(Ok(Err(error))) => {
                let mut response = error::respond(error);
                if response.status() == StatusCode::METHOD_NOT_ALLOWED
                    && matches!(*method, Method::GET | Method::HEAD)
                    && let Some(above) = console::url::above(path)
                {
                    return Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, above).finish();
                }
                if response.status() == StatusCode::METHOD_NOT_ALLOWED
                    && let Ok(allowed) = HeaderValue::from_str(self.methods.allowed(path))
                {
                    response.headers_mut().insert(header::ALLOW, allowed);
                }
                response
            }
            Ok(Err(_)) => {
                tracing::error!(request_id, %method, path, "a request panicked");
                ApiError::internal().into_response()
            }
            Err(_) => {
                tracing::error!(request_id, %method, path, "a request took too long");
                ApiError::unavailable().into_response()
            }
        }
    }

    /// The answer to a browser that asks whether it may call; `None` for any other request.
    fn preflight(&self, request: &Request) -> Option<Response> {
        let origin = request.headers().get(header::ORIGIN)?;
        let asks = *request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || !self.is_listed(origin) {
            return None;
        }
        let response = Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, DELETE")
            .header(header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Idempotency-Key, X-Request-Id")
            .header(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS)
            .finish();
        Some(response)
    }

    fn is_listed(&self, origin: &HeaderValue) -> bool {
        self.app.config.cors_origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    }

    /// Headers that every answer has.
    fn finish(&self, response: &mut Response, path: &str, origin: Option<HeaderValue>, request_id: &str) {
        // A page of the console is readable by no other origin, not even one listed for the API.
        let listed = origin.filter(|origin| self.is_listed(origin) && !console::url::is_page(path));
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
        if path.starts_with("/api/") {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if let Some(origin) = listed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            let exposed = HeaderValue::from_static(
                "X-Request-Id, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
            );
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

/// The id that the caller gave, if it can stand in a log, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match given {
        Some(id) if (1..=REQUEST_ID_CHARS).contains(&id.len()) && id.bytes().all(plain) => id.to_owned(),
        _ => Uuid::now_v7().to_string(),
    }
}

/// The request with its body read, no larger and no slower than it may be.
async fn bounded(mut request: Request) -> Result<Request, ApiError> {
    let body = request.take_body();
    match tokio::time::timeout(BODY_WITHIN, read(body)).await {
        Ok(Ok(bytes)) => {
            request.set_body(Body::from(bytes));
            Ok(request)
        }
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(ApiError::request_timeout()),
    }
}

/// A body of at most [`BODY_BYTES`]. A longer one is read away first, within bounds: a client that
/// is still writing when its connection closes sees a broken pipe, and never the answer.
async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let mut chunks = pin!(body.into_bytes_stream());
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::bad_request("The request body cannot be read"))?;
        length += chunk.len();
        if length <= BODY_BYTES {
            bytes.extend_from_slice(&chunk);
        } else if length > READ_AWAY_BYTES {
            break;
        }
    }
    if length <= BODY_BYTES { Ok(bytes) } else { Err(ApiError::too_large()) }
}

/// A method as a label: made-up ones share one, so that nobody grows the metrics.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowed_methods_of_a_path_are_those_of_its_template() {
        let document =
            r#"{"paths": {"/a/{id}": {"delete": {}}, "/a/mine": {"get": {}}, "/b": {"get": {}, "post": {}}}}"#;
        let methods = Methods::of(document);
        assert_eq!(methods.allowed("/a/mine"), "GET");
        assert_eq!(methods.allowed("/a/5"), "DELETE");
        assert_eq!(methods.allowed("/b"), "GET, POST");
        assert_eq!(methods.allowed("/docs"), "GET, HEAD");
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        let given = |id: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(id));
            request_id(&headers)
        };
        assert_eq!(given("abc-1.2_3"), "abc-1.2_3");
        for bad in ["", "a b", "a\"b", "a;b"] {
            assert_ne!(given(bad), bad);
        }
    }
}
