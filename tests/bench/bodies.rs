//! A gibibyte down and one up: throughput, checksums, and what the edge holds meanwhile.

use std::time::Instant;

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use reqwest::Body;
use sha2::{Digest, Sha256};
use testbed::{
    clients::http::Ask,
    people::{Token, User},
    stack::Stack,
    upstreams::standin::{Content, checksum},
};

use super::report::{Bound, Goal, Report, mib};

const MIB: u64 = 1024 * 1024;
const LONG: u64 = 1024 * MIB;

/// Of the edge's memory while one passes.
const DOWN: Goal =
    Goal { what: "1 GiB down, the edge's growth", bound: Bound::AtMost, goal: 16.0, held: 4.0, unit: " MiB" };
const UP: Goal = Goal { what: "1 GiB up, the edge's growth", ..DOWN };

/// The same on a gateway of its own.
pub async fn measure_alone(report: &mut Report) -> anyhow::Result<()> {
    let stack = Stack::plan().control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    measure(&stack, &alice, report).await?;
    stack.finish().await;
    Ok(())
}

pub async fn measure(stack: &Stack, alice: &User, report: &mut Report) -> anyhow::Result<()> {
    report.section("Long bodies");
    let token = alice.buys(24).await;
    // What a first request needs is not growth.
    download(stack, &token, MIB).await?;
    upload(stack, &token, MIB).await?;
    let edge = stack.edge_planes[0].process();
    for (name, is_download, growth) in [("1 GiB down", true, &DOWN), ("1 GiB up", false, &UP)] {
        edge.forget_peak()?;
        let before = edge.resident_bytes()?;
        let started = Instant::now();
        let (computed, expected) =
            if is_download { download(stack, &token, LONG).await? } else { upload(stack, &token, LONG).await? };
        let rate = mib(LONG) / started.elapsed().as_secs_f64();
        report.promise(
            name,
            &format!("{rate:.0} MiB/s, SHA-256 {}…", &computed[..12]),
            "arrives whole",
            computed == expected,
        );
        let grown = mib(edge.peak_resident_bytes()?.saturating_sub(before));
        report.goal(growth, grown, &format!("{grown:.1}"));
    }
    Ok(())
}

/// The checksums of what arrived and of what was sent.
async fn download(stack: &Stack, token: &Token, bytes: u64) -> anyhow::Result<(String, String)> {
    let path = format!("/download/{bytes}");
    // Lets the upstream work the checksum out before the clock starts to matter.
    stack.edge().with(token, Method::HEAD, &path).send().await?;
    let mut answer = stack.edge().with(token, Method::GET, &path).send().await?.error_for_status()?;
    let announced = answer.headers()["x-checksum-sha256"].to_str()?.to_owned();
    let mut hasher = Sha256::new();
    while let Some(chunk) = answer.chunk().await? {
        hasher.update(&chunk);
    }
    Ok((hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), announced))
}

async fn upload(stack: &Stack, token: &Token, bytes: u64) -> anyhow::Result<(String, String)> {
    let content = Content::new(bytes).map(Ok::<Bytes, std::io::Error>);
    let upload = stack.edge().with(token, Method::PUT, "/upload").body(Body::wrap_stream(stream::iter(content)));
    let arrived = upload.answer().await.expect(200);
    Ok((arrived["sha256"].as_str().unwrap_or_default().to_owned(), checksum(bytes)))
}
