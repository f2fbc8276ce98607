//! From a request to what answers it.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use url::form_urlencoded;

use super::{
    answer::{self, Answer},
    bodies, echo, fixtures, site, socket,
    state::{BASIC_AUTH, Scheme, State},
    text, zenzefi,
};

/// Headers that a query adds to an answer at most.
const MOST_HEADERS: usize = 20;

/// Answers one request. Every answer is one that a real server could give.
pub async fn answer(state: &State, scheme: Scheme, mut request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let body = state.seen.counting(&path, body);
    let query = Query(head.uri.query().unwrap_or_default());
    let origin = Origin::of(scheme, &head);
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments[..] {
        ["echo"] | ["echo", ..] => echo::answer(scheme, &head, body).await,
        ["status", code] => status(code, &query),
        ["slow", milliseconds] => bodies::slow(milliseconds).await,
        ["redirect"] => redirect(&query, &origin),
        ["cookies"] => cookies(&origin),
        ["basic"] => basic(&head.headers),
        ["compressed", coding] => bodies::compressed(coding, &head.headers, &query, &origin),
        ["download", bytes] => bodies::download(&state.checksums, bytes, head.method == Method::HEAD).await,
        ["upload"] => bodies::upload(body).await,
        ["abort"] => bodies::abort(&query),
        ["stall"] => bodies::stall(&query),
        ["trailers"] => bodies::trailers(),
        ["sse"] => bodies::ticks(&query, &origin),
        ["text"] => text::answer(&head, &query, &origin),
        ["bomb", mebibytes] => text::bomb(mebibytes),
        ["fixtures", name] => fixtures::answer(name, &origin),
        ["ws", "info"] => socket::answer(state, &head, upgrade, &query),
        ["_standin", "requests"] => {
            let path = query.text("path").unwrap_or_default();
            answer::json(StatusCode::OK, &json!(state.seen.at(&path)))
        }
        ["_standin", "sockets"] => answer::json(StatusCode::OK, &json!(state.seen.sockets())),
        _ => site::answer(&path, &origin).or_else(|| zenzefi::answer(&segments)).unwrap_or_else(answer::not_found),
    }
}

/// The query of a request, decoded value by value.
pub struct Query<'a>(&'a str);

impl Query<'_> {
    pub fn text(&self, name: &str) -> Option<String> {
        self.all(name).next()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = String> {
        let pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.filter(move |(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The headers that `header=Name:Value` asks for; `None` where one of them is none.
    pub fn headers(&self) -> Option<Vec<(HeaderName, HeaderValue)>> {
        self.all("header").take(MOST_HEADERS).map(|line| header_line(&line)).collect()
    }
}

/// Reads `Name: value`.
pub fn header_line(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

/// The origin that a request was sent to: what the server takes for its own.
pub struct Origin {
    pub scheme: &'static str,
    pub authority: String,
}

impl Origin {
    fn of(scheme: Scheme, head: &http::request::Parts) -> Self {
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let authority = head.uri.authority().map(ToString::to_string).or(host).unwrap_or_default();
        Self { scheme: scheme.as_str(), authority }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.authority)
    }

    /// The same server as WebSockets name it.
    pub fn socket_url(&self) -> String {
        self.url("").replacen("http", "ws", 1)
    }

    pub fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host)
    }
}

fn status(code: &str, query: &Query<'_>) -> Answer {
    let Some(status) = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()) else {
        return answer::bad_request("no such status");
    };
    if status.is_informational() {
        return answer::bad_request("an informational status is not an answer");
    }
    let mut answer = match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => answer::empty(status),
        _ => answer::json(status, &json!({ "status": status.as_u16() })),
    };
    let Some(headers) = query.headers() else { return answer::bad_request("no header") };
    for (name, value) in headers {
        answer.headers_mut().append(name, value);
    }
    answer
}

fn redirect(query: &Query<'_>, origin: &Origin) -> Answer {
    let to = query.text("to").unwrap_or_else(|| "/".to_owned());
    let location = to.strip_prefix("self:").map(|path| origin.url(path)).unwrap_or(to);
    let status = query.number("status").and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    let (Ok(location), status) = (HeaderValue::from_str(&location), status.unwrap_or(StatusCode::FOUND)) else {
        return answer::bad_request("no location");
    };
    let mut answer = answer::empty(status);
    answer.headers_mut().insert(header::LOCATION, location);
    answer
}

/// Three cookies, each of which a proxy has its own way to spoil: a plain one, one with a comma in
/// its date, and one bound to the server's own domain.
fn cookies(origin: &Origin) -> Answer {
    let mut answer = answer::json(StatusCode::OK, &json!({ "cookies": 3 }));
    let bound = format!("zenzefi_region=eu; Domain={}; Path=/; Secure; SameSite=None", origin.host());
    for line in [
        "zenzefi_session=4711; Path=/; HttpOnly".to_owned(),
        "zenzefi_theme=dark; Path=/; Expires=Wed, 21 Oct 2065 07:28:00 GMT".to_owned(),
        bound,
    ] {
        let Ok(line) = HeaderValue::from_str(&line) else { return answer::bad_request("no host") };
        answer.headers_mut().append(header::SET_COOKIE, line);
    }
    answer
}

fn basic(headers: &http::HeaderMap) -> Answer {
    let expected = format!("Basic {}", STANDARD.encode(BASIC_AUTH));
    if headers.get(header::AUTHORIZATION).is_some_and(|given| given.as_bytes() == expected.as_bytes()) {
        return answer::json(StatusCode::OK, &json!({ "authenticated": true }));
    }
    let mut answer = answer::of(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", "Unauthorized");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Zenzefi\""));
    answer
}
