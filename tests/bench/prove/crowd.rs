//! What a crowd with made-up tokens costs Redis and the edge.

use testbed::{clients::unknown_tokens, stack::Stack};

use crate::bench::report::Report;

const TOKENS: usize = 100_000;
const MOST_GROWTH_MIB: u64 = 16;

/// On a stack of its own, where nothing else asks Redis or makes the edge grow.
pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.section("Made-up tokens");
    let mut stack = Stack::plan().control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
    stack.settle().await;
    let cost = unknown_tokens::cost(&stack, TOKENS).await?;
    let odd = format!("{} of {TOKENS}", TOKENS - cost.not_once);
    report.promise("Each looked up once", &odd, "all", cost.not_once == 0);
    let seconds = cost.repeated_for.as_secs();
    let repeated = format!("{} times in {seconds} s", cost.repeated);
    let is_seldom = cost.repeated as u64 <= seconds + 1;
    report.promise("One of them, sent as often, looked up", &repeated, "once a second", is_seldom);
    report.promise("Answered with anything but 401", &cost.not_401.to_string(), "none", cost.not_401 == 0);
    let grown_mib = cost.grown_bytes / 1024 / 1024;
    let promise = format!("less than {MOST_GROWTH_MIB} MiB");
    report.promise("The edge's growth", &format!("{grown_mib} MiB"), &promise, grown_mib < MOST_GROWTH_MIB);
    stack.finish().await;
    Ok(())
}
