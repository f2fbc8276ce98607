//! So many requests a second whatever becomes of them: each is due at a time that was fixed beforehand, and its latency counts from then.
//!
//! So a proxy that stands still for a moment is charged with all that should have been asked meanwhile, which a closed loop omits. Where
//! an answer is late, its connection sends what is due by then at once.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::{net::TcpStream, runtime::Builder, task::JoinSet};

use super::{Carried, Way};
use crate::bench::report::Durations;

const CONNECTIONS: u32 = 32;
/// Before the first request is due: all connections stand then.
const BEGINS_AFTER: Duration = Duration::from_millis(100);

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

/// Asks `per_second` requests for so many seconds; how long each took from when it was due.
pub async fn load(way: &Way<'_>, per_second: f64, seconds: u64) -> anyhow::Result<Durations> {
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
    let mut durations = Durations::default();
    while let Some(more) = connections.join_next().await {
        durations.extend(more?.with_context(|| format!("asking {}", way.name))?);
    }
    Ok(durations)
}

/// What is due on the connection of this number, on a thread and a runtime of its own: so the thread can wait for the kernel's timer, which
/// is true to some microseconds, where Tokio's counts milliseconds.
fn one(plan: &Plan, number: u32) -> anyhow::Result<Durations> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut server, _connection) = runtime.block_on(connect(&plan.address))?;
    let alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    let first = plan.begins + plan.between * number / CONNECTIONS;
    let mut durations = Durations::default();
    for turn in 0.. {
        let due = first + plan.between * turn;
        if due >= plan.begins + plan.lasts {
            break;
        }
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            alarm.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
            alarm.wait()?;
        }
        runtime.block_on(ask(plan, &mut server, usize::try_from(turn * CONNECTIONS + number)?))?;
        durations.push_since(due);
    }
    Ok(durations)
}

/// Asks once, and takes the whole answer.
async fn ask(plan: &Plan, server: &mut SendRequest<Empty<Bytes>>, turn: usize) -> anyhow::Result<()> {
    let (name, value) = plan.carried.header(turn);
    let request = Request::get(plan.path).header(HOST, &plan.address).header(name, value);
    server.ready().await?;
    let answer = server.send_request(request.body(Empty::new())?).await?;
    ensure!(answer.status() == plan.status, "{} and not {}", answer.status(), plan.status);
    answer.into_body().collect().await?;
    Ok(())
}

/// A connection, and the task that drives it.
async fn connect(address: &str) -> anyhow::Result<(SendRequest<Empty<Bytes>>, JoinSet<hyper::Result<()>>)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (server, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok((server, driver))
}
