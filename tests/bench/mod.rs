//! `make prove`: what the gateway promises in figures, measured on a release build that has the machine to itself.

mod bodies;
mod cost;
mod crowd;
mod cuts;
mod delays;
mod lease;
mod losses;
mod report;

use std::fs;

use anyhow::{Context, bail};
use testbed::{process::build_folder, stack::Stack};

use report::Report;

/// Measures everything, prints it and writes `prove/report.md` in the build folder; an error where a promise is broken. What takes
/// more than a few minutes is left out unless `is_long`.
pub async fn prove(is_long: bool) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        bail!("figures of a debug build say nothing: use `make prove`");
    }
    let mut report = Report::new()?;
    let beside = async || if is_long { Ok(Some(lease::hold().await?)) } else { anyhow::Ok(None) };
    let (held, ()) = tokio::try_join!(beside(), measure(&mut report))?;
    if let Some(held) = held {
        lease::tell(&held, &mut report);
    }
    let folder = build_folder()?.join("prove");
    fs::create_dir_all(&folder)?;
    let path = folder.join("report.md");
    fs::write(&path, report.text()).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nWritten to {}", path.display());
    report.verdict()
}

async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let stack = Stack::plan().edges(2).control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
    let alice = stack.control.user("alice").with_credits(100_000).await;
    bodies::measure(&stack, &alice, report).await?;
    delays::measure(&stack, &alice, report).await?;
    cost::measure(&stack, &alice, report).await?;
    cuts::revocations(&stack, &alice, report).await?;
    stack.finish().await;
    cuts::expiries(report).await?;
    crowd::measure(report).await?;
    losses::measure(report).await
}
