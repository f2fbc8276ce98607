//! Rewriting without a network: what a program of the edge's own finds, since nothing here is
//! linked with it.

use anyhow::Context;
use testbed::processes::process::built_program;
use tokio::process::Command;

use crate::bench::report::Report;

const AT_LEAST: f64 = 1.0;

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.section("Rewriting alone, on one core");
    let program = built_program("testbed")?.with_file_name("examples").join("rewriting");
    let output = Command::new(&program).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8(output.stdout)?.lines() {
        let (what, rate) = line.rsplit_once(' ').context("it prints what was rewritten, and how fast")?;
        let rate: f64 = rate.parse()?;
        let promise = format!("at least {AT_LEAST} GB/s");
        report.promise(what, &format!("{rate:.2} GB/s"), &promise, rate >= AT_LEAST);
    }
    Ok(())
}
