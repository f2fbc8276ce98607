//! What the proxy knows of the request in hand. Pingora carries it through the phases.

use std::{mem, sync::Arc, time::Instant};

use bytes::Bytes;
use pingora::http::RequestHeader;

use crate::{
    admission::facts::Facts,
    proxy::{
        request_body::RequestBody,
        response_body::ResponseBody,
        target::{Admitted, Target},
    },
    rejection::{EndReason, Rejection},
    response::LocalResponse,
    telemetry::{access_log::AccessRecord, metrics::Metrics},
    upstream::pool::UpstreamAttempt,
};

/// A request from its first byte to its last.
pub struct RequestCtx {
    /// Dropped first: what is logged of the request comes before what its permit leaves behind.
    pub record: AccessRecord,
    /// What its head says, once that was read.
    pub facts: Option<Arc<Facts>>,
    /// Where it goes, once it was admitted.
    pub target: Option<Target>,
    /// Which of the upstream's addresses it was sent to.
    pub attempt: UpstreamAttempt,
    /// Bounds on its body, once it is forwarded.
    pub request_body: Option<RequestBody>,
    /// What becomes of the response's body, if it does not pass as it came.
    pub response_body: Option<ResponseBody>,
}

impl RequestCtx {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::of(AccessRecord::begin(metrics))
    }

    fn of(record: AccessRecord) -> Self {
        Self {
            record,
            facts: None,
            target: None,
            attempt: UpstreamAttempt::default(),
            request_body: None,
            response_body: None,
        }
    }

    /// Moves the request to where it goes on after Pingora is done with it. Nothing is logged of
    /// what is left here.
    pub fn hand_over(&mut self) -> Self {
        let left = Self::of(self.record.silent());
        mem::replace(self, left)
    }

    /// What was admitted to the upstream, if it was.
    pub fn admitted(&self) -> Option<&Admitted> {
        match &self.target {
            Some(Target::Upstream(admitted)) => Some(admitted),
            _ => None,
        }
    }

    /// Records a response of the edge's own.
    pub fn answered(&mut self, response: &LocalResponse) {
        self.record.answered(response.status(), response.refused());
    }

    /// Records that the request is sent to another server, and writes its place in the trace into
    /// `head`.
    pub fn sends(&mut self, head: &mut RequestHeader) -> pingora::Result<()> {
        self.record.sends(head, self.attempt.origin())
    }

    /// Begins to send the request once more, from its first byte.
    pub fn begin_again(&mut self) {
        self.record.begin_again();
        if let Some(body) = &mut self.request_body {
            body.begin_again(Instant::now());
        }
    }

    /// Takes in a piece of a body towards the upstream, if it is not too much and not too slow.
    pub fn came_in(&mut self, bytes: u64, is_end: bool) -> Result<(), Rejection> {
        self.count_in(bytes);
        self.request_body.as_mut().map_or(Ok(()), |body| body.came(bytes, is_end, Instant::now()))
    }

    /// Counts bytes of a body towards the upstream.
    pub fn count_in(&mut self, bytes: u64) {
        let bytes = self.record.count_in(bytes);
        if let Some(admitted) = self.admitted() {
            admitted.permit.count_in(bytes);
        }
    }

    /// Rewrites what came of the response's body, where that is to be, and counts what goes out.
    pub fn pass_out(&mut self, came: Option<Bytes>, is_end: bool) -> pingora::Result<Option<Bytes>> {
        let out = match &mut self.response_body {
            Some(body) => Some(body.push(came, is_end)?),
            None => came,
        };
        self.count_out(out.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(out)
    }

    /// Counts bytes of a body towards the client.
    pub fn count_out(&mut self, bytes: u64) {
        self.record.count_out(bytes);
        if let Some(admitted) = self.admitted() {
            admitted.permit.count_out(bytes);
        }
    }
}

impl Drop for RequestCtx {
    fn drop(&mut self) {
        let record = &mut self.record;
        if let Some(facts) = &self.facts {
            (record.client, record.grant) = (facts.client, facts.looked_up.outcome());
        }
        if let Some(Target::Upstream(admitted)) = &self.target {
            let grant = &admitted.permit.grant;
            (record.user_id, record.token_id) = (Some(grant.user_id), Some(grant.token_id));
            record.cut = admitted.permit.ending().map(EndReason::as_str);
        }
        if let Some(body) = &self.response_body {
            body.tell(record.metrics(), &record.id_text());
        }
    }
}
