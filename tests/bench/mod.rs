//! `make prove` and `make bench`: what the gateway promises in figures, and how fast it is beside
//! others of its kind; measured on a release build that has the machine to itself.

mod bodies;
pub mod prove;
mod report;
pub mod speed;

use std::fs;

use anyhow::{Context, bail};
use testbed::processes::process::build_folder;

use report::Report;

/// Measures these sections, or all if none is named, prints what it finds and writes
/// `prove/report.md` in the build folder; an error where a promise is broken. What takes more than
/// a few minutes is left out unless `is_long`.
pub async fn prove(sections: &[prove::Section], is_long: bool) -> anyhow::Result<()> {
    let mut report = new_report()?;
    let measured = prove::measure(sections, is_long, &mut report).await;
    ends(report, measured, "prove")
}

/// Measures these sections, or all if none is named, prints what it finds and writes
/// `bench/report.md` and the plots beside it in the build folder; an error where a goal is missed.
pub async fn bench(sections: &[speed::Section], pace: speed::Pace) -> anyhow::Result<()> {
    let mut report = new_report()?;
    let plots = build_folder()?.join("bench");
    fs::create_dir_all(&plots)?;
    let measured = Box::pin(speed::measure(sections, pace, &plots, &mut report)).await;
    ends(report, measured, "bench")
}

fn new_report() -> anyhow::Result<Report> {
    if cfg!(debug_assertions) {
        bail!("figures of a debug build say nothing: use `make prove` or `make bench`");
    }
    Report::new()
}

/// Writes what was found, all of it or not, as `report.md` into that folder of the build folder; an
/// error where it was not all, or is not good.
fn ends(mut report: Report, measured: anyhow::Result<()>, folder: &str) -> anyhow::Result<()> {
    report.goals();
    let folder = build_folder()?.join(folder);
    fs::create_dir_all(&folder)?;
    let path = folder.join("report.md");
    fs::write(&path, report.text()).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nWritten to {}", path.display());
    measured?;
    report.verdict()
}
