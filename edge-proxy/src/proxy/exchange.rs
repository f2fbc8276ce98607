//! One request and its answer on a connection of its own, for what Pingora's proxying cannot do:
//! WebSockets and trailers.

use http::{Method, StatusCode, header};
use pingora::{
    http::ResponseHeader,
    protocols::http::{HttpTask, v1::client::HttpSession as UpstreamSession},
    proxy::Session,
};

use crate::{
    admission::permit::Permit,
    edge::Edge,
    proxy::{context::RequestCtx, headers, response_body::ResponseBody},
    rejection::Rejection,
    upstream::server::ConnectionKind,
};

/// Why an exchange did not come to its end.
pub enum Failure {
    /// The client can still be answered.
    Rejection(Rejection),
    /// It has part of the answer already, and must be able to tell that this is not all.
    CutOff,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejection(rejection)
    }
}

/// Opens a connection to the upstream that nothing else uses; `ctx` then knows at which address.
pub async fn connect(edge: &Edge, ctx: &mut RequestCtx) -> Result<UpstreamSession, Rejection> {
    loop {
        if let Ok(peer) = edge.upstream.peer(&mut ctx.attempt, ConnectionKind::Exchange).await {
            if let Ok((session, _)) = edge.dedicated.get_http_session(&peer).await {
                return Ok(session);
            }
            ctx.attempt.failed();
        }
        if !edge.upstream.has_untried(&ctx.attempt) {
            return Err(broken(ctx, Rejection::UpstreamUnreachable));
        }
        edge.metrics.upstream_retries.inc();
    }
}

/// Notes that the upstream failed a request that was sent, and how the client is told.
pub fn broken(ctx: &RequestCtx, rejection: Rejection) -> Rejection {
    ctx.attempt.failed();
    match ctx.admitted() {
        Some(admitted) => failed(&admitted.permit, rejection),
        None => rejection,
    }
}

/// Notes that the upstream failed the request, and how the client is told.
pub fn failed(permit: &Permit, rejection: Rejection) -> Rejection {
    permit.failed(rejection == Rejection::UpstreamSilent);
    rejection
}

/// Waits for the upstream's final answer, starts the token's clock, and passes the answer's head
/// on. `Err` only while the client can still be answered; a client that is gone shows in what is
/// written next.
pub async fn answer(
    edge: &Edge,
    session: &mut Session,
    upstream: &mut UpstreamSession,
    ctx: &mut RequestCtx,
) -> Result<StatusCode, Rejection> {
    let answer = tokio::time::timeout(edge.upstream.timeout(), read_head(upstream)).await;
    let answer =
        answer.map_err(|_| Rejection::UpstreamSilent).and_then(|head| head.ok_or(Rejection::UpstreamUnreachable));
    let (mut head, ends) = answer.map_err(|rejection| broken(ctx, rejection))?;
    ctx.attempt.answered();
    ctx.record.heard(head.status);
    let (Some(request), Some(admitted)) = (&ctx.facts, ctx.admitted()) else { return Err(Rejection::Fault) };
    ctx.record.span.around(admitted.permit.answered(head.status)).await?;
    let status = head.status;
    let is_open = status == StatusCode::SWITCHING_PROTOCOLS;
    let asked = session.req_header();
    let rewriting = ResponseBody::begin(edge, asked, admitted, &mut head).map_err(|_| Rejection::Fault)?;
    if rewriting.is_some() {
        // Its length is not known any more.
        head.insert_header(header::TRANSFER_ENCODING, "chunked").map_err(|_| Rejection::Fault)?;
    }
    headers::from_upstream(&mut head, asked, request, admitted, &edge.rewriting).map_err(|_| Rejection::Fault)?;
    if let Some(strict) = headers::strict_transport(edge, session) {
        head.insert_header(header::STRICT_TRANSPORT_SECURITY, strict).map_err(|_| Rejection::Fault)?;
    }
    ctx.response_body = rewriting;
    ctx.record.status = Some(status);
    if !is_open {
        // Such a connection is not used twice.
        session.set_keepalive(None);
    }
    // A client that is gone shows in the next write.
    let ends = ends || session.req_header().method == Method::HEAD;
    let _ = session.write_response_header(head, ends && !is_open).await;
    Ok(status)
}

/// Passes on the body of an answer.
pub async fn pass_body(
    edge: &Edge,
    session: &mut Session,
    upstream: &mut UpstreamSession,
    ctx: &mut RequestCtx,
) -> Result<(), Failure> {
    if session.req_header().method == Method::HEAD {
        return Ok(());
    }
    upstream.read_timeout = Some(edge.upstream.timeout());
    loop {
        let (body, ends) = match upstream.read_response_task().await {
            Ok(HttpTask::Body(body, ends)) => (body, ends),
            Ok(HttpTask::Done | HttpTask::Trailer(_)) => (None, true),
            _ => return Err(Failure::CutOff),
        };
        let body = ctx.pass_out(body, ends).map_err(|_| Failure::CutOff)?;
        if ends || body.as_ref().is_some_and(|bytes| !bytes.is_empty()) {
            session.write_response_body(body, ends).await.map_err(|_| Failure::CutOff)?;
        }
        if ends {
            return Ok(());
        }
    }
}

/// The head of the final answer, and whether it is all of it; `None` if there is none.
async fn read_head(upstream: &mut UpstreamSession) -> Option<(Box<ResponseHeader>, bool)> {
    loop {
        match upstream.read_response_task().await {
            Ok(HttpTask::Header(head, ends)) => {
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Some((head, ends));
                }
            }
            _ => return None,
        }
    }
}
