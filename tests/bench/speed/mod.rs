//! `make bench`: how fast the gateway is, beside others of its kind where there are such.
//!
//! The proxies that are measured have one processor to themselves, and all else the others: see
//! [`cores`].

mod control;
pub mod cores;
mod fan_out;
mod listener;
mod load;
mod million;
mod nginx;
mod plot;
mod rewriting;
mod sockets;
mod spread;
mod start_up;
mod systems;

use std::{path::Path, time::Instant};

use clap::ValueEnum;

use super::{bodies, report::Report};

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// The edge beside nginx, HAProxy and a bare Pingora.
    Systems,
    /// Rewriting beside nginx, alone, and of a page of 1 GiB.
    Rewriting,
    /// A gibibyte down and one up: what the edge holds of them.
    Bodies,
    /// The control plane: logins, `GET /users/me`, purchases.
    Control,
    /// WebSockets: what an idle one holds, and what a message costs.
    Sockets,
    /// Ten thousand WebSockets, and how soon they end.
    FanOut,
    /// How soon each program is ready.
    StartUp,
    /// A million tokens: into an empty Redis, and in use on one edge.
    Million,
}

impl Section {
    /// Whether a goal can be lost there.
    fn has_goals(self) -> bool {
        self != Self::StartUp
    }
}

/// How long each figure is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Long enough for figures to quote.
    Full,
    /// Long enough to see that a goal is lost: `make bench-quick`.
    Quick,
}

/// Measures these sections, or all of that pace if none is named, and draws what can be drawn in
/// the folder `plots`; an error where it cannot.
pub async fn measure(sections: &[Section], pace: Pace, plots: &Path, report: &mut Report) -> anyhow::Result<()> {
    let is_asked = |section: &Section| match sections {
        [] => pace == Pace::Full || section.has_goals(),
        named => named.contains(section),
    };
    for section in Section::value_variants().iter().filter(|section| is_asked(section)) {
        cores::stay_beside()?;
        let started = Instant::now();
        match section {
            Section::Systems => Box::pin(systems::measure(pace, plots, report)).await?,
            Section::Rewriting => rewriting::measure(pace, plots, report).await?,
            Section::Bodies => bodies::measure_alone(report).await?,
            Section::Control => control::measure(pace, report).await?,
            Section::Sockets => sockets::measure(pace, plots, report).await?,
            Section::FanOut => fan_out::measure(pace, report).await?,
            Section::StartUp => start_up::measure(report).await?,
            Section::Million => million::measure(pace, report).await?,
        }
        report.line("");
        report.line(&format!("Measured within {} s.", started.elapsed().as_secs()));
    }
    Ok(())
}
