//! The body of a response: how it is rewritten, what that took, and how long a client may take
//! nothing of it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Version, header};
use pingora::{
    Error, ErrorType,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

use crate::{
    config::Rewrite,
    edge::Edge,
    origin::Origin,
    proxy::{headers, target::Admitted},
    rewrite::{
        body::{Rewriter, Transforms},
        coding::{Coding, Transcoder},
        html::{integrity::Integrity, script::Notice},
        http::{
            media::Text,
            plan::{Asker, Plan, joined},
        },
        origins::OriginPatterns,
    },
    telemetry::metrics::Metrics,
};

/// What is kept as a file begins so.
const ATTACHMENT: &[u8] = b"attachment";

/// A response's body that is rewritten on its way through.
pub struct ResponseBody {
    plan: Plan,
    passage: Transcoder,
    bytes_in: u64,
    bytes_out: u64,
    took: Duration,
}

impl ResponseBody {
    /// Decides what becomes of an answer's body, and fits its head to that; `None` if there is no
    /// body, or it passes untouched.
    pub fn begin(
        edge: &Edge,
        asked: &RequestHeader,
        admitted: &Admitted,
        head: &mut ResponseHeader,
    ) -> pingora::Result<Option<Self>> {
        let shown = admitted.shown.as_ref().filter(|_| edge.config.rewrite == Rewrite::Origins);
        let accepts = joined(&asked.headers, &header::ACCEPT_ENCODING);
        let asker = Asker { is_shown: shown.is_some(), drops_coding: admitted.drops_coding, accepts };
        let Some(plan) = Plan::of(head.status, &head.headers, &asker) else { return Ok(None) };
        headers::fit_body(head, &plan)?;
        if asked.method == Method::HEAD {
            return Ok(None);
        }
        let mut work = match (shown, plan.text) {
            (Some(shown), Some(text)) => work(text, &edge.rewriting, shown),
            _ => Transforms::default(),
        };
        if let Some(shown) = shown.filter(|_| admitted.gets_notice && plan.text == Some(Text::Html))
            && is_shown_as_page(asked, head)
            && headers::admit_script(head, shown)?
        {
            let script = format!("<script src=\"{}\" defer></script>", edge.pages.assets.time_left.address());
            work.notice = Some(Notice::new(script.into()));
        }
        let passage = Transcoder::new(plan.from, plan.to, work).map_err(broken)?;
        Ok(Some(Self { plan, passage, bytes_in: 0, bytes_out: 0, took: Duration::ZERO }))
    }

    /// Takes what came of the body and gives what goes out; `is_end` with what came last.
    pub fn push(&mut self, came: Option<Bytes>, is_end: bool) -> pingora::Result<Bytes> {
        let began = Instant::now();
        let came = came.unwrap_or_default();
        self.bytes_in += came.len() as u64;
        let out = self.passage.push(came, is_end).map_err(broken);
        self.took += began.elapsed();
        if let Ok(out) = &out {
            self.bytes_out += out.len() as u64;
        }
        out
    }

    /// Adds what was done to the figures, and tells of it.
    pub fn tell(&self, metrics: &Metrics, request_id: &str) {
        metrics.rewrite_bytes.with_label_values(&["in"]).inc_by(self.bytes_in);
        metrics.rewrite_bytes.with_label_values(&["out"]).inc_by(self.bytes_out);
        let done = self.passage.done();
        metrics.rewrite_replacements.inc_by(done.replaced);
        metrics.rewrite_seconds.inc_by(self.took.as_secs_f64());
        let name = |coding: Option<Coding>| coding.map_or("identity", Coding::as_str);
        tracing::debug!(
            request_id,
            is_text = self.plan.text.is_some(),
            from = name(self.plan.from),
            to = name(self.plan.to),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            replaced = done.replaced,
            integrities = done.integrities,
            took_us = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
            "an answer was rewritten"
        );
    }
}

fn work(text: Text, spellings: &Arc<OriginPatterns>, shown: &Origin) -> Transforms {
    let integrity = (text == Text::Html).then(|| Integrity::new(Arc::clone(spellings), shown.clone()));
    Transforms { integrity, rewriter: Some(Rewriter::new(Arc::clone(spellings), shown.clone())), notice: None }
}

/// Whether a browser is about to show an answer as a page of its own: not in a frame, not to a
/// script, and not as a file to keep.
fn is_shown_as_page(asked: &RequestHeader, head: &ResponseHeader) -> bool {
    let is_document = asked.headers.get("sec-fetch-dest").is_some_and(|destination| destination == "document");
    let is_file = head.headers.get(header::CONTENT_DISPOSITION).is_some_and(|disposition| {
        disposition
            .as_bytes()
            .trim_ascii_start()
            .get(..ATTACHMENT.len())
            .is_some_and(|kind| kind.eq_ignore_ascii_case(ATTACHMENT))
    });
    is_document && !is_file
}

/// A body that cannot be passed on: what stands behind the gateway sent it so.
fn broken(error: io::Error) -> Box<Error> {
    tracing::debug!(%error, "the body of an answer is broken");
    Error::explain(ErrorType::ReadError, "the body of an answer is broken").into_up()
}

/// What a client must take of a piece in each second beyond the time in which it need take nothing.
const TAKEN_PER_SECOND: u64 = 16 * 1024;

/// Ends a response by HTTP/2 whose next piece, of `bytes` bytes, the client does not take in time.
///
/// For whole connections the system does that (`TCP_USER_TIMEOUT`), which sees each byte that is
/// taken. A stream of HTTP/2 can stand still while its connection moves, because the client lets no
/// more of it come. There Pingora times each piece as a whole, mostly one of 64 KiB, so a large one
/// is given more time.
pub fn expect_taken(session: &mut Session, within: Duration, bytes: usize) {
    if session.req_header().version != Version::HTTP_2 {
        return;
    }
    let time = within + Duration::from_secs(bytes as u64 / TAKEN_PER_SECOND);
    // Several pieces may wait to be written; the largest says how long each may take.
    if session.get_write_timeout().is_none_or(|longest| longest < time) {
        session.set_write_timeout(Some(time));
    }
}
