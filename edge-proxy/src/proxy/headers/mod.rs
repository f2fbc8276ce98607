//! What a request's head becomes on its way to the upstream or to the control API, and what the
//! upstream's answer becomes on its way back. The one place that decides which headers cross the
//! gateway.

mod request;
pub mod response;

use http::HeaderName;

pub use request::{destination, may_trail, strip_hop_by_hop, to_control, to_upstream};
pub use response::{admit_script, fit_body, from_upstream, strict_transport};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
