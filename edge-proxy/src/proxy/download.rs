//! Bounds how long a client may take nothing of its answer.
//!
//! For whole connections the system does that (`TCP_USER_TIMEOUT`), which sees every byte being taken. A stream of HTTP/2 can stand still
//! while its connection moves, because the client lets no more of it come; there Pingora times each piece as a whole, mostly one of
//! 64 KiB, so that a large one is given more time.

use std::time::Duration;

use http::Version;
use pingora::proxy::Session;

/// What is to be taken of a piece in each second beyond the time in which nothing need be.
const BYTES_PER_SECOND: u64 = 16 * 1024;

/// Ends the answer by HTTP/2 whose next piece, of so many bytes, is not taken in time.
pub fn expect_taken(session: &mut Session, within: Duration, bytes: usize) {
    if session.req_header().version != Version::HTTP_2 {
        return;
    }
    let time = within + Duration::from_secs(bytes as u64 / BYTES_PER_SECOND);
    // Several pieces may wait to be written; the largest says how long each may take.
    if session.get_write_timeout().is_none_or(|longest| longest < time) {
        session.set_write_timeout(Some(time));
    }
}
