//! Whether this edge can serve: what operators are told, and what a process that takes over waits
//! for.

use std::time::Duration;

use crate::{assertion::Assertions, edge::Edge};

/// How long a process that takes over waits for what it needs, of which an order of a certificate
/// takes longest.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often it checks.
const CHECKED_EVERY: Duration = Duration::from_millis(20);

/// Waits until this edge can serve as well as the process before it did, but no longer than
/// [`READY_WITHIN`].
pub async fn wait(edge: &Edge) {
    let is_ready = async {
        while !missing(edge).is_empty() {
            tokio::time::sleep(CHECKED_EVERY).await;
        }
    };
    if tokio::time::timeout(READY_WITHIN, is_ready).await.is_err() {
        tracing::warn!(missing = missing(edge).join(", "), "takes over although it cannot serve yet");
    }
}

/// What this edge lacks to serve.
fn missing(edge: &Edge) -> Vec<&'static str> {
    let has_certificate = match (&edge.tls.certificates, &edge.tls.acme) {
        (Some(certificates), Some(acme)) => certificates.are_for_any(&acme.domains),
        _ => true,
    };
    let needs = [
        (edge.admission.grants.is_sound(), "Redis"),
        (edge.upstream.in_use() > 0, "the upstream"),
        (is_signature_known(edge), "that other edges know the key of assertions"),
        (has_certificate, "a certificate"),
    ];
    needs.into_iter().filter_map(|(is_met, need)| (!is_met).then_some(need)).collect()
}

/// Why this edge is not ready; empty if it is. That it has no certificate of ACME yet is no reason:
/// an edge that is sent nothing for it would not be asked by the authority either, and never have
/// one.
pub fn reasons(edge: &Edge) -> Vec<&'static str> {
    let is_draining = edge.lifecycle.draining.is_cancelled().then_some("shutting down");
    let knows_no_key =
        (!is_signature_known(edge)).then_some("other edges do not know the key of this one's assertions yet");
    let is_alone = (edge.upstream.in_use() == 0).then_some("the upstream cannot be reached");
    [is_draining, feed_fault(edge), knows_no_key, is_alone].into_iter().flatten().collect()
}

/// Whether every edge can tell by now what this one's assertions are verified with.
fn is_signature_known(edge: &Edge) -> bool {
    edge.assertions.as_ref().is_none_or(Assertions::are_known)
}

/// Why the change feed is not sound, if it is not.
fn feed_fault(edge: &Edge) -> Option<&'static str> {
    let grants = &edge.admission.grants;
    if grants.is_sound() {
        None
    } else if !edge.redis.is_connected() {
        Some("Redis cannot be reached")
    } else if !grants.feed_health.is_filled() {
        Some("Redis does not hold every token yet: the control plane is filling it, or is not there")
    } else {
        Some("no heartbeat on the change feed: Redis is unreachable or was replaced")
    }
}
