//! A page of a gibibyte: what the edge holds of it, and when its first byte leaves.

use std::time::{Duration, Instant};

use http::Method;
use reqwest::Response;
use testbed::{
    people::Token,
    stack::Stack,
    upstreams::paced::{MIB, Paced},
};
use tokio::time::timeout;

use super::page::page;
use crate::bench::report::{Report, mib, milliseconds};

/// An alias: what paces the page knows nothing of its own origin.
const NAMED: &str = "https://zenzefi.local";
const MEBIBYTES: usize = 1024;
const OCCURRENCES: usize = 16;
const MOST_GROWTH_MIB: f64 = 4.0;
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(10);
const ARRIVES_WITHIN: Duration = Duration::from_secs(600);

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.section("A page of 1 GiB");
    let upstream = Paced::start(page(&[NAMED], MIB, OCCURRENCES).into()).await?;
    let stack = Stack::plan()
        .edge_env("ZENZEFI_URL", &upstream.url())
        .edge_env("ZENZEFI_ALIASES", NAMED)
        .edge_env("LOG_LEVEL", "warn")
        .start()
        .await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    // What a first request needs is not growth.
    upstream.let_go_on(true);
    arrives(get(&stack, &token, 16).await?).await?;
    upstream.let_go_on(false);
    let edge = stack.edge_planes[0].process();
    edge.forget_peak()?;
    let before = edge.resident_bytes()?;

    let started = Instant::now();
    let mut answer = get(&stack, &token, MEBIBYTES).await?;
    let first = timeout(FIRST_BYTE_WITHIN, answer.chunk()).await.ok().transpose()?.flatten();
    let (what, promise) = ("The first byte", "before the upstream sends its second mebibyte");
    report.promise(what, &format!("after {}", milliseconds(started.elapsed())), promise, first.is_some());
    upstream.let_go_on(true);
    let received = first.map_or(0, |first| first.len()) + arrives(answer).await?;
    let grown_mib = mib(edge.peak_resident_bytes()?.saturating_sub(before));

    let longer = OCCURRENCES * (stack.edge().url().len() - NAMED.len());
    let is_whole = received == MEBIBYTES * (MIB + longer);
    let rate = mib(u64::try_from(received)?) / started.elapsed().as_secs_f64();
    report.promise("All of it", &format!("{received} bytes, {rate:.0} MiB/s"), "arrives whole, rewritten", is_whole);
    let promise = format!("less than {MOST_GROWTH_MIB} MiB");
    report.promise("The edge's growth", &format!("{grown_mib:.1} MiB"), &promise, grown_mib < MOST_GROWTH_MIB);
    stack.finish().await;
    Ok(())
}

/// Asks for a page as a browser does, and reads its head.
async fn get(stack: &Stack, token: &Token, mebibytes: usize) -> anyhow::Result<Response> {
    let request = stack.edge().request(Method::GET, &format!("/{mebibytes}")).timeout(ARRIVES_WITHIN);
    let request = request.header("Cookie", format!("zenzefi_access_token={}", token.text));
    Ok(request.send().await?.error_for_status()?)
}

/// The length of what is left of an answer, once it is all there.
async fn arrives(mut answer: Response) -> anyhow::Result<usize> {
    let mut received = 0;
    while let Some(chunk) = answer.chunk().await? {
        received += chunk.len();
    }
    Ok(received)
}
