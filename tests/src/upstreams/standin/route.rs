//! From a request to what answers it.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    answer::{self, Answer},
    asked::{Origin, Query, Scheme},
    bodies, echo, fixtures, site, socket,
    state::{BASIC_AUTH, State},
    text, zenzefi,
};

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
