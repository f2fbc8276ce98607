//! `make bench-rewrite`: what rewriting costs, beside nginx and alone, and what it holds of a long page.

mod alone;
mod beside;
mod long;
mod nginx;
mod page;

use super::report::Report;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    beside::measure(report).await?;
    alone::measure(report).await?;
    long::measure(report).await
}
