//! What slow clients and a flood past the limits cost a good client, and the edge.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use testbed::{
    clients::{raw_http::Wire, slow},
    people::{Edge, Token},
    stack::Stack,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::report::{Durations, Report, milliseconds};

const SLOW: usize = 10_000;
const FLOODS: usize = 32;
/// For as long as the good client is measured alone, and beside the flood.
const MEASURED_FOR: Duration = Duration::from_secs(10);
/// The timeouts of the edge as they come, and time to notice.
const END_WITHIN: Duration = Duration::from_secs(180);
const MOST_P99: Duration = Duration::from_millis(250);
/// 200 KiB for each of the slow ones.
const MOST_GROWTH_MIB: u64 = 2_000;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.section("Slow clients and a flood");
    let stack = Stack::plan().control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (good, slow_one) = (alice.buys(24).await, alice.buys(24).await);
    let edge = stack.edge_planes[0].process();
    let host = stack.edge().url().trim_start_matches("http://").to_owned();

    let quiet = beside(stack.edge(), &good, tokio::time::sleep(MEASURED_FOR)).await.0?;
    report.figure("A good client alone", &quiet.summary());
    edge.forget_peak()?;
    let before = edge.resident_bytes()?;
    let slow = slow::start(&host, &slow_one, SLOW);
    let (served, ended) = beside(stack.edge(), &good, slow::all(slow, END_WITHIN)).await;
    let ended = ended.map_err(|left| anyhow!("{left} slow clients are still connected after {END_WITHIN:?}"))?;
    promise(report, &format!("Beside {SLOW} slow clients"), &served?);
    let connected = format!("{} of {SLOW}", ended.len());
    report.promise("Slow clients that were ended", &connected, "all", ended.len() == SLOW);

    let (served, refused) = beside(stack.edge(), &good, flood(stack.edge().url())).await;
    promise(report, "Beside a flood of heads that are too large", &served?);
    report.figure("Refused of the flood", &format!("{} in {} s", refused?, MEASURED_FOR.as_secs()));
    let grown_mib = edge.peak_resident_bytes()?.saturating_sub(before) / 1024 / 1024;
    let most = format!("less than {MOST_GROWTH_MIB} MiB");
    report.promise("The edge's growth", &format!("{grown_mib} MiB"), &most, grown_mib < MOST_GROWTH_MIB);
    stack.finish().await;
    Ok(())
}

fn promise(report: &mut Report, what: &str, served: &Durations) {
    let most = format!("p99 below {}", milliseconds(MOST_P99));
    report.promise(what, &served.summary(), &most, served.percentile(99) < MOST_P99);
}

/// Asks with a good token, one request after the other, while something else goes on; an error if
/// any is not served.
async fn beside<T>(edge: &Edge, good: &Token, other: impl Future<Output = T>) -> (anyhow::Result<Durations>, T) {
    let is_over = CancellationToken::new();
    let asking = async {
        let mut durations = Durations::default();
        while !is_over.is_cancelled() {
            let started = Instant::now();
            let status = edge.status_for(good, "/status/200").await;
            anyhow::ensure!(status == 200, "a good client is answered {status}");
            durations.push_since(started);
        }
        Ok(durations)
    };
    let other = async {
        let outcome = other.await;
        is_over.cancel();
        outcome
    };
    tokio::join!(asking, other)
}

/// Connections that each send a head past the limits, as fast as they are refused; how many were.
async fn flood(origin: &str) -> anyhow::Result<usize> {
    let until = Instant::now() + MEASURED_FOR;
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(100_000));
    let mut floods = JoinSet::new();
    for _ in 0..FLOODS {
        let (origin, head) = (origin.to_owned(), head.clone());
        floods.spawn(async move {
            let mut refused = 0;
            while Instant::now() < until {
                let mut wire = Wire::connect(&origin).await?;
                // It may be closed before all of it was sent.
                let _ = wire.send(&head).await;
                refused += usize::from(wire.answer().await.is_ok_and(|answer| answer.status == 431));
            }
            anyhow::Ok(refused)
        });
    }
    floods.join_all().await.into_iter().sum()
}
