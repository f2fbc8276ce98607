//! `make bench`: how fast the gateway is, beside others of its kind where there are such.
//!
//! The proxies that are measured have one processor to themselves, and all else the others: see [`cores`].

mod control;
pub mod cores;
mod fan_out;
mod load;
mod million;
mod nginx;
mod plot;
mod rewriting;
mod sockets;
mod spread;
mod standin;
mod start_up;
mod systems;
mod wrk;

use std::path::Path;

use clap::ValueEnum;

use crate::bench::report::Report;

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// The edge beside nginx, HAProxy and a bare Pingora.
    Systems,
    /// Rewriting beside nginx, alone, and of a page of 1 GiB.
    Rewriting,
    /// A million tokens: into an empty Redis, and in use on one edge.
    Million,
    /// The control plane: logins, `GET /users/me`, purchases.
    Control,
    /// WebSockets: what an idle one holds, and what a message costs.
    Sockets,
    /// Ten thousand WebSockets, and how soon they end.
    FanOut,
    /// How soon each program is ready.
    StartUp,
}

/// How long each figure is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Long enough for figures to quote.
    Full,
    /// Long enough to see that a goal is lost: `make bench-quick`.
    Quick,
}

/// Measures these sections, or all of that pace if none is named, and draws what can be drawn in the folder `plots`; an error where it
/// cannot.
pub async fn measure(sections: &[Section], pace: Pace, plots: &Path, report: &mut Report) -> anyhow::Result<()> {
    let is_asked = |section| sections.is_empty() || sections.contains(&section);
    cores::stay_beside()?;
    if is_asked(Section::Systems) {
        systems::measure(pace, plots, report).await?;
    }
    if is_asked(Section::Rewriting) {
        rewriting::measure(pace, report).await?;
    }
    if is_asked(Section::Control) {
        control::measure(pace, report).await?;
    }
    if is_asked(Section::Sockets) {
        sockets::measure(pace, report).await?;
    }
    if pace == Pace::Quick {
        return Ok(());
    }
    if is_asked(Section::FanOut) {
        fan_out::measure(report).await?;
    }
    if is_asked(Section::StartUp) {
        start_up::measure(report).await?;
    }
    if is_asked(Section::Million) {
        million::measure(report).await?;
    }
    Ok(())
}
