//! `make prove`: what the gateway promises in figures, each on a stack of its own kind.

mod cost;
mod crowd;
mod cuts;
mod delays;
mod lease;
mod logins;
mod losses;
mod parted;
mod slow;

use clap::ValueEnum;
use testbed::stack::Stack;

use super::{bodies, report::Report};

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// A gibibyte down and one up.
    Bodies,
    /// How soon a purchase and a revocation count.
    Delays,
    /// What the edge adds to a small request.
    Cost,
    /// What is open when its token is revoked.
    Revocations,
    /// What is open when its token's time is up.
    Expiries,
    /// Made-up tokens.
    Crowd,
    /// Ten thousand slow clients, and a flood past the limits.
    Slow,
    /// Redis emptied, and silent.
    Losses,
    /// One edge cut off from Redis.
    Parted,
    /// Failed logins, and many at once.
    Logins,
}

/// Measures these sections, or all if none is named; an error where it cannot. What takes more than
/// a few minutes is left out unless `is_long`.
pub async fn measure(sections: &[Section], is_long: bool, report: &mut Report) -> anyhow::Result<()> {
    let beside = async || if is_long { Ok(Some(lease::hold().await?)) } else { anyhow::Ok(None) };
    let (held, ()) = tokio::try_join!(beside(), measure_each(sections, report))?;
    if let Some(held) = held {
        lease::tell(&held, report);
    }
    Ok(())
}

async fn measure_each(sections: &[Section], report: &mut Report) -> anyhow::Result<()> {
    let is_asked = |section| sections.is_empty() || sections.contains(&section);
    if [Section::Bodies, Section::Delays, Section::Cost, Section::Revocations].into_iter().any(is_asked) {
        let stack = Stack::plan().edges(2).control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
        let alice = stack.control.user("alice").with_credits(100_000).await;
        if is_asked(Section::Bodies) {
            bodies::measure(&stack, &alice, report).await?;
        }
        if is_asked(Section::Delays) {
            delays::measure(&stack, &alice, report).await?;
        }
        if is_asked(Section::Cost) {
            cost::measure(&stack, &alice, report).await?;
        }
        if is_asked(Section::Revocations) {
            cuts::revocations(&stack, &alice, report).await?;
        }
        stack.finish().await;
    }
    if is_asked(Section::Expiries) {
        cuts::expiries(report).await?;
    }
    if is_asked(Section::Crowd) {
        crowd::measure(report).await?;
    }
    if is_asked(Section::Slow) {
        slow::measure(report).await?;
    }
    if is_asked(Section::Losses) {
        losses::measure(report).await?;
    }
    if is_asked(Section::Parted) {
        parted::measure(report).await?;
    }
    if is_asked(Section::Logins) {
        logins::measure(report).await?;
    }
    Ok(())
}
