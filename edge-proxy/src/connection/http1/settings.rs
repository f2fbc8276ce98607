//! What the reader of HTTP/1 goes by.

use std::{sync::Arc, time::Duration};

use super::head::Limits;
use crate::{
    rejection::Rejection,
    response::LocalResponse,
    telemetry::{access_log::AccessRecord, metrics::Metrics},
};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct HeadTimeouts {
    /// From the first byte of a head to its last, and from the first moment of a connection to its
    /// first head's last byte.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
}

/// What the gate goes by.
pub struct Settings {
    pub limits: Limits,
    pub patience: HeadTimeouts,
    pub metrics: Arc<Metrics>,
}

impl Settings {
    /// The answer to what is refused at the gate, as it goes over the wire. It is logged and
    /// counted as any request is.
    pub fn refuse(&self, rejection: &Rejection) -> Vec<u8> {
        let mut record = AccessRecord::begin(Arc::clone(&self.metrics));
        let answer = LocalResponse::problem(rejection);
        record.answered(answer.status(), answer.refused());
        answer.last_on_wire(&record.id_text())
    }
}
