//! A million tokens: how soon they are in Redis, and what an edge holds of those in use.

mod memory;
mod rebuild;

use testbed::stack::Stack;

use super::{Pace, cores};
use crate::bench::report::Report;

/// With every processor for everything: this is about the whole, not about one of the programs.
/// With fewer where there is little time.
pub async fn measure(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let count = if pace == Pace::Full { 1_000_000 } else { 100_000 };
    cores::share()?;
    let mut stack = Stack::plan()
        .control_env("LOG_LEVEL", "info")
        .edge_env("LOG_LEVEL", "warn")
        .edge_env("EDGE_THREADS", "1")
        .start()
        .await;
    let alice = stack.control.user("alice").await;
    let tokens = stack.seeds_unpublished(&alice, count).await?;
    // As autovacuum has done anywhere else by the time that there are a million.
    stack.control.database.query("ANALYZE").await?;
    rebuild::measure(&stack, count, report).await?;
    if pace == Pace::Full {
        // It would count each token's first use, publish it anew and have the edge look at it
        // again: several times the work of the uses.
        stack.control.plane.stop().await?;
        memory::measure(&stack, tokens, report).await?;
    }
    stack.finish().await;
    Ok(())
}
