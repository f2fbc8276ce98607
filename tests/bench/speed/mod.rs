//! `make bench`: how fast the gateway is, beside others of its kind where there are such.
//!
//! The proxies that are measured have one processor to themselves, and all else the others: see [`cores`].

pub mod cores;
mod load;
mod nginx;
mod plot;
mod rewriting;
mod spread;
mod systems;

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
    Ok(())
}
