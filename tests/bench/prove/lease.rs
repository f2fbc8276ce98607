//! A device that holds its token by an idle WebSocket alone, for as long as two leases last.

use std::time::{Duration, Instant};

use http::Method;
use testbed::{
    clients::{http::Ask, websocket::Socket},
    stack::Stack,
};
use tokio::time::sleep;

use crate::bench::report::Report;

const HELD_FOR: Duration = Duration::from_secs(600);
const TRIED_EVERY: Duration = Duration::from_secs(20);
const HOLDER: &str = "holder-laptop";
const OTHER: &str = "other-laptop";

/// How often another device tried, how often it was refused as it must be, and whether the holder's
/// WebSocket still works.
pub struct Held {
    tried: u32,
    refused: u32,
    is_open: bool,
}

/// Holds a token of a gateway of its own, beside whatever else is measured.
pub async fn hold() -> anyhow::Result<Held> {
    let stack = Stack::plan().control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let mut socket = Socket::idle(stack.edge(), &token, Some(HOLDER)).await?;
    let (started, mut tried, mut refused) = (Instant::now(), 0, 0);
    while started.elapsed() < HELD_FOR {
        sleep(TRIED_EVERY).await;
        tried += 1;
        let answer = stack.edge().on(OTHER, &token, Method::GET, "/status/200").answer().await;
        refused += u32::from(answer.status == 409);
    }
    let is_open = socket.is_open().await;
    drop(socket);
    stack.finish().await;
    Ok(Held { tried, refused, is_open })
}

pub fn tell(held: &Held, report: &mut Report) {
    report.section("An idle WebSocket under a lease");
    let Held { tried, refused, is_open } = held;
    let figure = format!("{refused} of {tried} tries in {} s; open at the end: {is_open}", HELD_FOR.as_secs());
    let is_kept = refused == tried && *is_open;
    report.promise("Another device refused with 409", &figure, "all, and still open", is_kept);
}
