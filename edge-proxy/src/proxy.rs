//! Pingora's phases in their order: the life of a request on the edge, each phase a few lines that call a module.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora::{
    Error, ErrorSource, ErrorType,
    http::{RequestHeader, ResponseHeader},
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};
use shared::path::PathFault;

use crate::{
    Edge,
    admit::{self, DEVICE_HEADER, Denied},
    credential::{self, Candidate, DEVICE_COOKIE, Source, with_query},
    cutoff,
    exchange::Failure,
    forward, gateway,
    held::Held,
    origin::Origin,
    request::{Admitted, Request, RequestCtx, Target},
    respond::Answer,
    route::Route,
    trailers, tunnel,
};

/// Seconds for which a connection is kept without a request.
const KEEPALIVE_SECONDS: u64 = 75;

/// The proxy: Pingora's hooks around the edge.
pub struct Proxy {
    edge: Arc<Edge>,
}

/// What becomes of a request once its head was judged.
enum Decision {
    Answer(Answer),
    Forward(Target),
    Tunnel(Admitted),
    WithTrailers(Admitted),
}

impl Proxy {
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    async fn decide(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<Decision, Denied> {
        let request = self.read_head(session, ctx)?;
        ctx.request = Some(request.clone());
        let path = ctx.path.clone();
        let route = self.edge.routes.of(&path);
        ctx.route = route.class();
        let answer = match route {
            Route::Health => gateway::health(&self.edge),
            Route::Authenticate => gateway::authenticate(&self.edge, session, &request).await?,
            Route::Status => gateway::status(&self.edge, session).await?,
            Route::Logout => gateway::logout(&self.edge, session, &request)?,
            Route::SignIn => gateway::sign_in(&self.edge, session, &request).await?,
            Route::Enter => gateway::enter(&self.edge, session, &request).await?,
            Route::Stylesheet => Answer::stylesheet(),
            Route::NotFound => return Err(Denied::NotFound),
            Route::Misspelled => return Err(Denied::MisspelledPath),
            Route::Control => {
                shared::path::check(&path).map_err(Denied::Path)?;
                return Ok(Decision::Forward(Target::Control));
            }
            Route::Upstream { path, prefixed } => return self.admit(session, &request, path, prefixed).await,
        };
        Ok(Decision::Answer(answer))
    }

    /// Reads what the head says, and notes what the access line needs.
    fn read_head(&self, session: &Session, ctx: &mut RequestCtx) -> Result<Request, Denied> {
        let head = session.req_header();
        ctx.method = head.method.to_string();
        let target = head
            .uri
            .path_and_query()
            .filter(|_| head.raw_path_is_utf8())
            .ok_or(Denied::Path(PathFault::NotAbsolute))?;
        ctx.path = target.path().to_owned();
        let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let public = self.public_origin(is_tls, head).ok_or(Denied::WrongHost)?;
        let local = head.headers.get("x-local-url").and_then(|url| url.to_str().ok()?.parse::<Origin>().ok());
        Ok(Request {
            id: ctx.id(),
            client: client_address(session),
            public,
            publics: Arc::clone(&self.edge.public_origins),
            local: local.filter(Origin::is_loopback),
        })
    }

    /// The public origin that a request came by; `None` if it is none of ours.
    fn public_origin(&self, is_tls: bool, head: &RequestHeader) -> Option<Origin> {
        let host = match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => head.headers.get(header::HOST)?.to_str().ok()?,
        };
        let configured = self.edge.public_origins.iter().find(|origin| origin.is_named_by(host));
        match configured {
            Some(origin) => Some(origin.clone()),
            // Only DEBUG lets this list be empty.
            None if self.edge.public_origins.is_empty() => Origin::of_host(is_tls, host),
            None => None,
        }
    }

    /// Lets a request through to the upstream's `path`, in the contract's order of checks.
    async fn admit(
        &self,
        session: &Session,
        request: &Request,
        path: &str,
        prefixed: bool,
    ) -> Result<Decision, Denied> {
        let head = session.req_header();
        let query = head.uri.query();
        let device = admit::device(&head.headers)?;
        let candidates = credential::candidates(&head.method, &head.headers, query);
        let has_query_token = matches!(candidates.first(), Some(Candidate { source: Source::Query, .. }));
        if prefixed && !has_query_token && is_browsers_navigation(&head.method, &head.headers) {
            return redirect(&request.public, path, query);
        }
        let (held, candidate) = self.edge.choose(candidates).await?;
        let is_upgrade = is_websocket(head);
        if candidate.source == Source::Cookie {
            admit::check_cross_site(&head.method, is_upgrade, &head.headers, &request.own_origins())?;
        }
        let has_device = device.is_some() || credential::cookie(&head.headers, DEVICE_COOKIE).is_some();
        admit::authorize(self.edge.config.device_policy, has_device, held.scope, path)?;

        let query = query.map(credential::strip_query).unwrap_or_default();
        if candidate.source == Source::Query && !is_upgrade {
            return self.sign_in_by_query(request, &candidate, &held, path, query.as_deref());
        }
        let target = with_query(path, query.as_deref());
        let is_api_client = candidate.source == Source::Header && request.local.is_none();
        let shown = (!is_api_client).then(|| request.shown().clone());
        let admitted = Admitted { held, source: candidate.source, target, shown };
        Ok(if is_upgrade {
            Decision::Tunnel(admitted)
        } else if trailers::announces_trailers(head) {
            Decision::WithTrailers(admitted)
        } else {
            Decision::Forward(Target::Upstream(admitted))
        })
    }

    /// Takes a token out of the address bar: a cookie for it, and the same page without it.
    fn sign_in_by_query(
        &self,
        request: &Request,
        candidate: &Candidate,
        held: &Held,
        path: &str,
        query: Option<&str>,
    ) -> Result<Decision, Denied> {
        let answer = gateway::redirect(request, &with_query(path, query))?;
        let credential = candidate.credential.as_ref().ok_or(Denied::Fault)?;
        Ok(Decision::Answer(gateway::with_cookie(answer, &self.edge, request, credential, held)))
    }

    /// A refusal as the caller can use it: a page for a browser that navigates, problem JSON for all others.
    fn refusal(&self, head: &RequestHeader, ctx: &RequestCtx, denied: &Denied) -> Answer {
        let answer = if !is_browsers_navigation(&head.method, &head.headers) {
            Answer::problem(denied)
        } else if matches!(denied, Denied::NoCredential | Denied::BadCredential | Denied::HandoverGone) {
            let query = head.uri.query().map(credential::strip_query).unwrap_or_default();
            let next = with_query(&ctx.path, query.as_deref());
            // A hand-over's own address leads nowhere a second time.
            let next = admit::next_path(&next).filter(|next| !next.starts_with("/_gateway/")).unwrap_or("/");
            Answer::sign_in(Some(denied), next)
        } else {
            Answer::refusal_page(denied)
        };
        match &ctx.request {
            Some(request) if *denied == Denied::BadCredential && has_cookie(&head.headers) => {
                answer.with(header::SET_COOKIE, gateway::cleared_cookie(&self.edge, request))
            }
            _ => answer,
        }
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
            Err(Failure::Denied(denied)) => self.refuse(session, ctx, &denied).await.map(|()| true),
            // As an error, for Pingora ends an answer properly otherwise.
            Err(Failure::CutOff) => Err(Error::explain(ErrorType::ReadError, "the answer broke off").into_up()),
        }
    }

    async fn refuse(&self, session: &mut Session, ctx: &mut RequestCtx, denied: &Denied) -> pingora::Result<()> {
        let answer = self.refusal(session.req_header(), ctx, denied);
        ctx.answered(&answer);
        answer.send(session, &ctx.id()).await
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(Arc::clone(&self.edge.metrics))
    }

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut RequestCtx) -> pingora::Result<()> {
        // Pingora keeps an idle connection for ever unless told; one that the client wants closed is closed.
        let keepalive = session.get_keepalive().map(|_| KEEPALIVE_SECONDS);
        session.set_keepalive(keepalive.filter(|_| !self.edge.draining.is_cancelled()));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<bool> {
        match self.decide(session, ctx).await {
            Ok(Decision::Answer(answer)) => {
                ctx.answered(&answer);
                answer.send(session, &ctx.id()).await?;
                Ok(true)
            }
            Ok(Decision::Forward(target)) => {
                if let Target::Upstream(admitted) = &target {
                    cutoff::arm(Arc::clone(&admitted.held), Duration::ZERO);
                }
                ctx.target = Some(target);
                // Only a WebSocket may leave HTTP, and it does not come this way.
                session.req_header_mut().remove_header(&header::UPGRADE);
                Ok(false)
            }
            Ok(Decision::Tunnel(admitted)) => {
                cutoff::arm(Arc::clone(&admitted.held), tunnel::CLOSE_WITHIN * 2);
                ctx.target = Some(Target::Upstream(admitted));
                let ran = tunnel::run(&self.edge, session, ctx).await;
                self.finish_exchange(session, ctx, ran).await
            }
            Ok(Decision::WithTrailers(admitted)) => {
                cutoff::arm(Arc::clone(&admitted.held), Duration::ZERO);
                ctx.target = Some(Target::Upstream(admitted));
                let ran = trailers::run(&self.edge, session, ctx).await;
                self.finish_exchange(session, ctx, ran).await
            }
            Err(denied) => {
                self.refuse(session, ctx, &denied).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<Box<HttpPeer>> {
        let server = match &ctx.target {
            Some(Target::Control) => self.edge.control.as_ref().expect("this route exists only where it is configured"),
            _ => &self.edge.zenzefi,
        };
        let peer = server.peer().await;
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
        ctx.bytes_in += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        // An empty last piece would be written as a second end of a chunked body (cloudflare/pingora#935).
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
        let request = ctx.request.as_ref().expect("a request that is forwarded was read");
        match &ctx.target {
            Some(Target::Upstream(admitted)) => forward::to_upstream(head, request, admitted, &self.edge.config),
            _ => {
                let control = self.edge.control.as_ref().expect("this route exists only where it is configured");
                forward::to_control(head, request, &control.origin)
            }
        }
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        if head.status.is_informational() {
            return Ok(());
        }
        ctx.status = Some(head.status);
        let (Some(request), Some(admitted)) = (&ctx.request, ctx.admitted()) else { return Ok(()) };
        self.edge.start_clock(&admitted.held, head.status).await.map_err(|unfit| {
            let status = Denied::from(unfit).status().as_u16();
            Error::explain(ErrorType::HTTPStatus(status), "the token's clock could not be started")
        })?;
        forward::from_upstream(head, request, admitted, &self.edge.zenzefi.origin, Instant::now())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<Option<Duration>> {
        ctx.bytes_out += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        _ctx: &mut RequestCtx,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("peer: {peer}"));
        // A pooled connection may have gone just then; what may have been done already is not done again.
        let may_repeat = session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        error.retry.decide_reuse(client_reused && may_repeat);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestCtx) -> FailToProxy {
        let denied = fault(error, ctx);
        // A forwarded `100` or `103` is not the answer yet.
        let awaits_answer = session
            .response_written()
            .is_none_or(|head| head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS);
        // The error's own text may hold a request's head; its type does not.
        let (kind, source) = (error.etype().as_str(), error.esource().as_str());
        if *error.esource() == ErrorSource::Downstream {
            tracing::debug!(request_id = ctx.id(), kind, source, "a client left");
        } else {
            tracing::warn!(request_id = ctx.id(), kind, source, "a request failed");
        }
        if awaits_answer && can_hear(error) {
            // Pingora does not use the connection again after a failure behind it; the answer must say so.
            session.set_keepalive(None);
            // A client that is gone needs no answer.
            let _ = self.refuse(session, ctx, &denied).await;
        }
        FailToProxy { error_code: denied.status().as_u16(), can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &RequestCtx, _error: &Error) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, ctx: &RequestCtx) -> String {
        ctx.id()
    }
}

/// Whether the client may still be there to read an answer.
fn can_hear(error: &Error) -> bool {
    let is_gone = matches!(error.etype(), ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed);
    *error.esource() != ErrorSource::Downstream || !is_gone
}

/// What a failure on the way is to the client.
fn fault(error: &Error, ctx: &RequestCtx) -> Denied {
    let is_control = matches!(ctx.target, Some(Target::Control));
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(401), _) => Denied::BadCredential,
        (ErrorType::HTTPStatus(503), _) => Denied::Unavailable,
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) if is_control => {
            Denied::ControlSilent
        }
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => Denied::UpstreamSilent,
        (_, ErrorSource::Upstream) if is_control => Denied::ControlUnreachable,
        (_, ErrorSource::Upstream) => Denied::UpstreamUnreachable,
        (_, ErrorSource::Downstream) => Denied::BrokenBody,
        _ => Denied::Fault,
    }
}

/// A browser that came by itself, not through the desktop client or as an API client.
fn is_browsers_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let is_client = ["x-local-url", credential::HEADER, DEVICE_HEADER].iter().any(|name| headers.contains_key(*name));
    !is_client && admit::is_navigation(method, headers)
}

/// A request that wants to become a WebSocket. `Upgrade` without `Connection: upgrade` is a plain request.
fn is_websocket(head: &RequestHeader) -> bool {
    let lists = |name, token: &str| {
        head.headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    };
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && lists(header::UPGRADE, "websocket")
        && lists(header::CONNECTION, "upgrade")
}

fn has_cookie(headers: &HeaderMap) -> bool {
    credential::cookie(headers, credential::COOKIE).is_some()
}

fn client_address(session: &Session) -> Option<IpAddr> {
    let address = session.client_addr()?.as_inet()?.ip();
    Some(address.to_canonical())
}

fn redirect(public: &Origin, path: &str, query: Option<&str>) -> Result<Decision, Denied> {
    let target = format!("{public}{}", with_query(path, query));
    Answer::temporary_redirect(&target).map(Decision::Answer).ok_or(Denied::Fault)
}
