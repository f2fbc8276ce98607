//! Pingora's phases in their order: the life of a request on the edge, each phase a few lines that
//! call a module.

pub mod context;
pub mod dispatch;
pub mod exchange;
pub mod headers;
pub mod request_body;
pub mod response_body;
pub mod target;
pub mod trailers;
pub mod websocket;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, header};
use pingora::{
    Error, ErrorSource, ErrorType, RetryType,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

use crate::{
    connection::{self, cutoff},
    edge::Edge,
    endpoints::rejection_page,
    proxy::{
        context::RequestCtx,
        dispatch::{Action, judge},
        exchange::Failure,
        request_body::RequestBody,
        response_body::{ResponseBody, expect_taken},
        target::Target,
    },
    rejection::{InvalidCredential, Rejection},
    response::LocalResponse,
    upstream::server::ConnectionKind,
};

/// The proxy: Pingora's hooks around the edge.
pub struct Proxy {
    edge: Arc<Edge>,
}

impl Proxy {
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// Ends a request that did not go Pingora's way; `true`, since it was answered.
    async fn finish_exchange(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        ran: Result<(), Failure>,
    ) -> pingora::Result<bool> {
        match ran {
            Ok(()) => Ok(true),
            Err(Failure::Rejection(rejection)) => self.refuse(session, ctx, &rejection).await.map(|()| true),
            // As an error, for Pingora ends an answer properly otherwise.
            Err(Failure::CutOff) => Err(Error::explain(ErrorType::ReadError, "the answer broke off").into_up()),
        }
    }

    /// Bounds what comes of the request's body from here on.
    fn watch_body(&self, session: &mut Session, ctx: &mut RequestCtx) {
        let config = &self.edge.config;
        ctx.request_body =
            Some(RequestBody::new(config.limits.max_body_bytes, config.limits.body_timeout(), Instant::now()));
        // Of HTTP/1; reading HTTP/2 has no timeout, so that silence there is noticed from outside.
        session.set_read_timeout(Some(config.limits.body_timeout()));
        if session.req_header().version == Version::HTTP_2 {
            cutoff::expect_body(Some(self.longest_pause()));
        }
    }

    /// After which nobody can say any more that the upstream was the one that held a body up.
    fn longest_pause(&self) -> Duration {
        self.edge.config.limits.body_timeout() + self.edge.config.upstream_timeout()
    }

    async fn refuse(&self, session: &mut Session, ctx: &mut RequestCtx, rejection: &Rejection) -> pingora::Result<()> {
        let answer =
            rejection_page::answer(&self.edge, session.req_header(), &ctx.record, ctx.facts.as_deref(), rejection);
        self.send(session, ctx, answer).await
    }

    async fn send(&self, session: &mut Session, ctx: &mut RequestCtx, answer: LocalResponse) -> pingora::Result<()> {
        ctx.answered(&answer);
        let answer = match headers::strict_transport(&self.edge, session) {
            Some(strict) => answer.with(header::STRICT_TRANSPORT_SECURITY, strict),
            None => answer,
        };
        answer.send(session, &ctx.record.id_text()).await
    }

    /// Decides whether a request that failed is sent once more.
    fn repeat(&self, ctx: &mut RequestCtx, error: &mut Error, repeats: bool) {
        error.set_retry(repeats);
        if repeats {
            self.edge.metrics.upstream_retries.inc();
            ctx.begin_again();
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(Arc::clone(&self.edge.metrics))
    }

    /// None: Pingora's own one compresses, which is left to the upstream, and is asked several
    /// times a request although it is off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut RequestCtx) -> pingora::Result<()> {
        // Pingora keeps an idle connection for ever unless told; one that the client wants closed
        // is closed.
        let keepalive = session.get_keepalive().map(|_| self.edge.config.limits.idle_timeout_seconds);
        session.set_keepalive(keepalive.filter(|_| !self.edge.lifecycle.draining.is_cancelled()));
        expect_taken(session, self.edge.config.limits.send_timeout(), 0);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<bool> {
        ctx.record.begin_span(session.req_header(), || {
            connection::is_from_trusted_proxy(session, &self.edge.config.trusted_proxies)
        });
        let span = ctx.record.span.clone();
        let judging = judge(&self.edge, session, ctx);
        // A request's future is copied as often as it is wrapped.
        let judged = if span.is_told() { Box::pin(span.around(judging)).await } else { judging.await };
        match judged {
            // Boxed like all that ends here, so that what goes on does not carry room for it.
            Ok(Action::LocalResponse(answer)) => Box::pin(self.send(session, ctx, answer)).await.map(|()| true),
            Ok(Action::Forward(target)) => {
                if let Target::Upstream(admitted) = &target {
                    cutoff::arm(&admitted.permit.grant, admitted.permit.address, Duration::ZERO);
                }
                ctx.target = Some(target);
                // Only a WebSocket may leave HTTP, and it does not come this way.
                session.req_header_mut().remove_header(&header::UPGRADE);
                if !session.as_mut().is_body_empty() {
                    self.watch_body(session, ctx);
                }
                Ok(false)
            }
            Ok(Action::Tunnel(admitted)) => {
                cutoff::arm(&admitted.permit.grant, admitted.permit.address, websocket::CLOSE_WITHIN * 2);
                ctx.target = Some(Target::Upstream(admitted));
                let ran = Box::pin(websocket::run(&self.edge, session, ctx)).await;
                Box::pin(self.finish_exchange(session, ctx, ran)).await
            }
            Ok(Action::WithTrailers(admitted)) => {
                cutoff::arm(&admitted.permit.grant, admitted.permit.address, Duration::ZERO);
                ctx.target = Some(Target::Upstream(admitted));
                self.watch_body(session, ctx);
                let ran = Box::pin(trailers::run(&self.edge, session, ctx)).await;
                Box::pin(self.finish_exchange(session, ctx, ran)).await
            }
            Err(rejection) => {
                Box::pin(self.refuse(session, ctx, &rejection)).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<Box<HttpPeer>> {
        let purpose = match session.req_header().version {
            // HTTP/1.0 clients cannot read chunks, and Pingora chunks HTTP/2 responses.
            Version::HTTP_10 => ConnectionKind::Http1Requests,
            _ => ConnectionKind::Requests,
        };
        let peer = match &ctx.target {
            Some(Target::Control) => {
                let control = self.edge.control.as_ref().expect("this route exists only where it is configured");
                control.peer(purpose).await
            }
            _ => self.edge.upstream.peer(&mut ctx.attempt, purpose).await,
        };
        peer.map(Box::new)
            .map_err(|error| Error::because(ErrorType::ConnectError, "resolving the upstream", error).into_up())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        let bytes = body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        ctx.came_in(bytes, end_of_stream).map_err(|rejection| {
            Error::explain(ErrorType::HTTPStatus(rejection.status().as_u16()), rejection.reason()).into_down()
        })?;
        cutoff::expect_body((!end_of_stream).then(|| self.longest_pause()));
        // An empty last piece would be written as a second end of a chunked body
        // (cloudflare/pingora#935).
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        let request = ctx.facts.as_ref().expect("a request that is forwarded was read");
        match &ctx.target {
            Some(Target::Upstream(admitted)) => {
                // From here on Pingora writes it.
                admitted.permit.sent();
                let origin = ctx.attempt.origin().expect("a request that is sent was given an address");
                headers::to_upstream(head, request, admitted, origin, &self.edge)?;
            }
            _ => {
                let control = self.edge.control.as_ref().expect("this route exists only where it is configured");
                headers::to_control(head, request, &control.origin)?;
            }
        }
        ctx.sends(head)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        if head.status.is_informational() {
            return Ok(());
        }
        ctx.record.heard(head.status);
        let Some(admitted) = ctx.admitted() else { return Ok(()) };
        ctx.response_body = ResponseBody::begin(&self.edge, session.req_header(), admitted, head)?;
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        if head.status.is_informational() {
            return Ok(());
        }
        ctx.record.status = Some(head.status);
        ctx.attempt.answered();
        let strict = headers::strict_transport(&self.edge, session);
        let (Some(request), Some(admitted)) = (&ctx.facts, ctx.admitted()) else {
            return strict.map_or(Ok(()), |strict| head.insert_header(header::STRICT_TRANSPORT_SECURITY, strict));
        };
        ctx.record.span.around(admitted.permit.answered(head.status)).await.map_err(|rejection| {
            let status = rejection.status().as_u16();
            Error::explain(ErrorType::HTTPStatus(status), "the token's clock could not be started")
        })?;
        headers::from_upstream(head, session.req_header(), request, admitted, &self.edge.rewriting)?;
        if let Some(strict) = strict {
            head.insert_header(header::STRICT_TRANSPORT_SECURITY, strict)?;
        }
        if session.req_header().version == Version::HTTP_10 && head.remove_header(&header::TRANSFER_ENCODING).is_some()
        {
            // The end of the connection is the end of the answer.
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<Option<Duration>> {
        *body = ctx.pass_out(body.take(), end_of_stream)?;
        expect_taken(session, self.edge.config.limits.send_timeout(), body.as_ref().map_or(0, Bytes::len));
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        _trailers: &mut HeaderMap,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<Option<Bytes>> {
        if ctx.response_body.is_none() {
            return Ok(None);
        }
        // Before trailers no piece of the body was called its last.
        let Ok(last) = ctx.pass_out(None, true) else {
            // Pingora would end the answer properly.
            session.as_downstream_mut().shutdown().await;
            return Ok(None);
        };
        Ok(last.filter(|last| !last.is_empty()))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestCtx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.attempt.failed();
        // Nothing of it was sent, so any request may go elsewhere.
        let goes_elsewhere = ctx.admitted().is_some() && self.edge.upstream.has_untried(&ctx.attempt);
        self.repeat(ctx, &mut error, goes_elsewhere);
        error
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut RequestCtx,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("peer: {peer}"));
        let is_lost = *error.esource() == ErrorSource::Upstream && !ctx.record.has_response();
        // A pooled connection may have gone just then, which says nothing of its server.
        if is_lost && !client_reused {
            ctx.attempt.failed();
        }
        let has_elsewhere = ctx.admitted().is_some() && self.edge.upstream.has_untried(&ctx.attempt);
        let repeats = is_lost && (client_reused || has_elsewhere) && may_repeat(session, &error);
        self.repeat(ctx, &mut error, repeats);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestCtx) -> FailToProxy {
        let rejection = fault(error, ctx);
        if *error.esource() == ErrorSource::Upstream {
            ctx.record.unheard();
        }
        if let (Some(admitted), ErrorSource::Upstream) = (ctx.admitted(), error.esource()) {
            exchange::failed(&admitted.permit, rejection.clone());
        }
        // A forwarded `100` or `103` is not the answer yet.
        let awaits_answer = session
            .response_written()
            .is_none_or(|head| head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS);
        // The error's own text may hold a request's head; its type does not.
        let (kind, source) = (error.etype().as_str(), error.esource().as_str());
        if *error.esource() == ErrorSource::Downstream {
            tracing::debug!(request_id = ctx.record.id_text(), kind, source, "a client left");
        } else {
            tracing::warn!(request_id = ctx.record.id_text(), kind, source, "a request failed");
        }
        if awaits_answer && can_hear(error) {
            // Pingora does not use the connection again after a failure behind it; the answer must
            // say so.
            session.set_keepalive(None);
            // A client that is gone needs no answer.
            let _ = self.refuse(session, ctx, &rejection).await;
        }
        FailToProxy { error_code: rejection.status().as_u16(), can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &RequestCtx, _error: &Error) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, ctx: &RequestCtx) -> String {
        ctx.record.id_text()
    }
}

/// Whether a request whose connection was lost before its answer may be sent once more: none whose
/// body went out in part, and what may have been done already only where doing it twice is doing it
/// once.
fn may_repeat(session: &mut Session, error: &Error) -> bool {
    let is_whole = session.as_mut().is_body_empty()
        || session.as_mut().is_body_done() && !session.as_ref().retry_buffer_truncated();
    // Of an HTTP/2 server, by GOAWAY or REFUSED_STREAM.
    let is_untouched = matches!(error.retry, RetryType::Decided(true)) && *error.etype() == ErrorType::H2Error;
    let is_lost = matches!(
        error.etype(),
        ErrorType::ConnectionClosed
            | ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::H2Error
            | ErrorType::H2Downgrade
            | ErrorType::InvalidH2
    );
    is_whole && (is_untouched || is_lost && session.req_header().method.is_idempotent())
}

/// Whether the client may still be there to read an answer.
fn can_hear(error: &Error) -> bool {
    let is_gone = matches!(error.etype(), ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed);
    *error.esource() != ErrorSource::Downstream || !is_gone
}

/// What a failure on the way is to the client.
fn fault(error: &Error, ctx: &RequestCtx) -> Rejection {
    let is_control = matches!(ctx.target, Some(Target::Control));
    match (error.etype(), error.esource()) {
        // Of all that end so: its token ended while its first answer was on the way.
        (ErrorType::HTTPStatus(401), _) => Rejection::BadCredential(InvalidCredential::Revoked),
        (ErrorType::HTTPStatus(503), _) => Rejection::Unavailable,
        (ErrorType::HTTPStatus(413), _) => Rejection::BodyTooLarge,
        (ErrorType::HTTPStatus(408), _) | (ErrorType::ReadTimedout, ErrorSource::Downstream) => Rejection::BodyTimeout,
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) if is_control => {
            Rejection::ControlSilent
        }
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => Rejection::UpstreamSilent,
        (_, ErrorSource::Upstream) if is_control => Rejection::ControlUnreachable,
        (_, ErrorSource::Upstream) => Rejection::UpstreamUnreachable,
        (_, ErrorSource::Downstream) => Rejection::BrokenBody,
        _ => Rejection::Fault,
    }
}
