//! A fixed rate of requests, whatever becomes of them: each is due at a time that was fixed
//! beforehand, and its latency counts from then.
//!
//! So a proxy that stands still for a moment is charged with all that should have been asked
//! meanwhile, which a closed loop omits. Where an answer is late, its connection sends what is due
//! by then at once. Where the load itself is late, on a connection that waited for nothing but the
//! time, the latency counts from when it came: that delay is no proxy's.
//!
//! All connections are on one thread, each with the least of clients: what loads shares its
//! processor with the upstream, and what it takes of that is what latencies are longer by.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, unix::pipe::Receiver},
    runtime::Builder,
    task::{JoinSet, spawn_blocking},
    time::timeout,
};

use super::{Carried, Way};
use crate::bench::report::Durations;

const CONNECTIONS: u32 = 32;
/// Before the first request is due: all connections stand then.
const BEGINS_AFTER: Duration = Duration::from_millis(100);
/// After the last request was due.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
const MOST_HEADERS: usize = 32;
const MOST_BYTES: usize = 4 * 1024;

/// What is asked, and when.
#[derive(Clone)]
struct Plan {
    address: String,
    path: &'static str,
    carried: Carried,
    status: u16,
    /// How far the requests of one connection are apart; those of different ones are spread evenly
    /// in between.
    between: Duration,
    lasts: Duration,
    begins: Instant,
}

/// How long things took.
#[derive(Default)]
pub struct Latencies {
    /// Each answer, from when its request was due, as far as the proxy is to blame.
    pub answers: Durations,
    /// The start of each request that waited for nothing but the time, from when it was due: what
    /// is late here is the load itself.
    pub starts: Durations,
}

/// Asks `per_second` requests for this number of seconds, of a way whose small answers tell their
/// length.
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
    let all = spawn_blocking(move || Builder::new_current_thread().enable_all().build()?.block_on(all(plan))).await?;
    all.with_context(|| format!("asking {}", way.name))
}

/// What is due on all connections.
async fn all(plan: Plan) -> anyhow::Result<Latencies> {
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let plan = plan.clone();
        connections.spawn(async move { one(&plan, number).await });
    }
    let mut all = Latencies::default();
    let whole = async {
        while let Some(latencies) = connections.join_next().await {
            let latencies = latencies??;
            all.answers.extend(latencies.answers);
            all.starts.extend(latencies.starts);
        }
        anyhow::Ok(())
    };
    timeout(BEGINS_AFTER + plan.lasts + ENDS_WITHIN, whole).await.context("not every request is answered")??;
    Ok(all)
}

/// What is due on the connection of this number.
async fn one(plan: &Plan, number: u32) -> anyhow::Result<Latencies> {
    let mut server = TcpStream::connect(&plan.address).await?;
    server.set_nodelay(true)?;
    let mut alarm = Alarm::new()?;
    let first = plan.begins + plan.between * number / CONNECTIONS;
    let mut latencies = Latencies::default();
    for turn in 0.. {
        let due = first + plan.between * turn;
        if due >= plan.begins + plan.lasts {
            break;
        }
        let left = due.saturating_duration_since(Instant::now());
        let mut counts_from = due;
        if !left.is_zero() {
            alarm.rings_after(left).await?;
            counts_from = Instant::now();
            latencies.starts.push(counts_from.saturating_duration_since(due));
        }
        ask(plan, &mut server, usize::try_from(turn * CONNECTIONS + number)?).await?;
        latencies.answers.push_since(counts_from);
    }
    Ok(latencies)
}

/// A timer of the kernel's, which is true to some microseconds where Tokio's counts milliseconds.
struct Alarm {
    timer: TimerFd,
    /// The same, as what Tokio can wait for.
    rings: Receiver,
}

impl Alarm {
    fn new() -> anyhow::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let rings = Receiver::from_owned_fd_unchecked(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer, rings })
    }

    async fn rings_after(&mut self, duration: Duration) -> anyhow::Result<()> {
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(duration)), TimerSetTimeFlags::empty())?;
        // Longer than what there is to read, so that Tokio does not try again before it has rung
        // again.
        let rung = self.rings.read(&mut [0; 2 * size_of::<u64>()]).await?;
        ensure!(rung == size_of::<u64>(), "a timer tells how often it has rung");
        Ok(())
    }
}

/// Asks once, and takes the whole answer.
async fn ask(plan: &Plan, server: &mut TcpStream, turn: usize) -> anyhow::Result<()> {
    let ((name, value), host, path) = (plan.carried.header(turn), &plan.address, plan.path);
    server.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\n\r\n").as_bytes()).await?;
    let mut answer = [0; MOST_BYTES];
    let (mut received, mut whole) = (0, None);
    while whole.is_none_or(|whole| received < whole) {
        let more = server.read(&mut answer[received..]).await?;
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

/// How long an answer is with its body, once its head is all there; an error where it has another
/// status.
fn whole_length(answer: &[u8], status: u16) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = head.parse(answer)? else { return Ok(None) };
    ensure!(head.code == Some(status), "{:?} and not {status}", head.code);
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer that does not tell its length")?;
    Ok(Some(head_bytes + std::str::from_utf8(length.value)?.parse::<usize>()?))
}
