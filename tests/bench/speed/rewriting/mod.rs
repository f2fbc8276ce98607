//! What rewriting costs, beside nginx and alone, and what it holds of a long page.

mod alone;
mod beside;
mod long;
pub mod page;

use std::path::Path;

use super::Pace;
use crate::bench::report::Report;

pub async fn measure(pace: Pace, plots: &Path, report: &mut Report) -> anyhow::Result<()> {
    beside::measure(pace, plots, report).await?;
    if pace == Pace::Quick {
        return Ok(());
    }
    alone::measure(report).await?;
    long::measure(report).await
}
