//! `make bench`: how fast the gateway is, beside others of its kind where there are such.
//!
//! The proxies that are measured have one processor to themselves, and all else the others: see [`cores`].

pub mod cores;
mod rewriting;

use clap::ValueEnum;

use crate::bench::report::Report;

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
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

/// Measures these sections, or all of that pace if none is named; an error where it cannot.
pub async fn measure(sections: &[Section], pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let is_asked = |section| sections.is_empty() || sections.contains(&section);
    cores::stay_beside()?;
    if is_asked(Section::Rewriting) {
        rewriting::measure(pace, report).await?;
    }
    Ok(())
}
