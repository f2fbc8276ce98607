//! So many requests a second whatever becomes of them: each is due at a time that was fixed beforehand, and its latency counts from then.
//!
//! So a proxy that stands still for a moment is charged with all that should have been asked meanwhile, which a closed loop omits. Where
//! an answer is late, its connection sends what is due by then at once.
//!
//! Each connection has a thread of its own, and the least of clients: what loads shares its processor with the upstream, and a request by
//! a whole client costs several times what it costs the proxy.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::task::JoinSet;

use super::{Carried, Way};
use crate::bench::report::Durations;

const CONNECTIONS: u32 = 32;
/// Before the first request is due: all connections stand then.
const BEGINS_AFTER: Duration = Duration::from_millis(100);
/// After which silence an answer is given up.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const MOST_HEADERS: usize = 32;
const MOST_BYTES: usize = 16 * 1024;

/// What is asked, and when.
#[derive(Clone)]
struct Plan {
    address: String,
    path: &'static str,
    carried: Carried,
    status: u16,
    /// How far the requests of one connection are apart; those of different ones are spread evenly in between.
    between: Duration,
    lasts: Duration,
    begins: Instant,
}

/// How long things took.
#[derive(Default)]
pub struct Latencies {
    /// Each answer, from when its request was due.
    pub answers: Durations,
    /// The start of each request that a connection waited for, from when it was due: what is late here is late for the load's own sake.
    pub starts: Durations,
}

/// Asks `per_second` requests for so many seconds, of a way whose small answers tell their length.
pub async fn load(way: &Way<'_>, per_second: f64, seconds: u64) -> anyhow::Result<Latencies> {
    let plan = Plan {
        address: way.address.clone(),
        path: way.path,
        carried: way.carried.clone(),
        status: way.status,
        between: Duration::from_secs_f64(f64::from(CONNECTIONS) / per_second),
        lasts: Duration::from_secs(seconds),
        begins: Instant::now() + BEGINS_AFTER,
    };
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let plan = plan.clone();
        connections.spawn_blocking(move || one(&plan, number));
    }
    let mut all = Latencies::default();
    while let Some(latencies) = connections.join_next().await {
        let latencies = latencies?.with_context(|| format!("asking {}", way.name))?;
        all.answers.extend(latencies.answers);
        all.starts.extend(latencies.starts);
    }
    Ok(all)
}

/// What is due on the connection of this number. It waits for a timer of the kernel's, which is true to some microseconds where Tokio's
/// counts milliseconds.
fn one(plan: &Plan, number: u32) -> anyhow::Result<Latencies> {
    let mut server = TcpStream::connect(&plan.address)?;
    server.set_nodelay(true)?;
    server.set_read_timeout(Some(ANSWERS_WITHIN))?;
    let alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    let first = plan.begins + plan.between * number / CONNECTIONS;
    let mut latencies = Latencies::default();
    for turn in 0.. {
        let due = first + plan.between * turn;
        if due >= plan.begins + plan.lasts {
            break;
        }
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            alarm.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
            alarm.wait()?;
            latencies.starts.push_since(due);
        }
        ask(plan, &mut server, usize::try_from(turn * CONNECTIONS + number)?)?;
        latencies.answers.push_since(due);
    }
    Ok(latencies)
}

/// Asks once, and takes the whole answer.
fn ask(plan: &Plan, server: &mut TcpStream, turn: usize) -> anyhow::Result<()> {
    let ((name, value), host, path) = (plan.carried.header(turn), &plan.address, plan.path);
    server.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\n\r\n").as_bytes())?;
    let mut answer = [0; MOST_BYTES];
    let (mut received, mut whole) = (0, None);
    while whole.is_none_or(|whole| received < whole) {
        let more = server.read(&mut answer[received..])?;
        ensure!(more > 0, "an answer is cut off, or longer than {MOST_BYTES} bytes");
        received += more;
        whole = match whole {
            None => whole_length(&answer[..received], plan.status)?,
            known => known,
        };
    }
    ensure!(whole == Some(received), "more than one answer");
    Ok(())
}

/// How long an answer is with its body, once its head is all there; an error where it has another status.
fn whole_length(answer: &[u8], status: u16) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = head.parse(answer)? else { return Ok(None) };
    ensure!(head.code == Some(status), "{:?} and not {status}", head.code);
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer that does not tell its length")?;
    Ok(Some(head_bytes + std::str::from_utf8(length.value)?.parse::<usize>()?))
}
