//! How long each program takes from its start until it says that it is ready.

use std::time::{Duration, Instant};

use reqwest::Client;
use testbed::{clients::http::client, processes::programs::Plane, stack::Stack};
use tokio::time::sleep;

use crate::bench::report::{Durations, Report};

const STARTS: usize = 11;
const LOOKED_EVERY: Duration = Duration::from_millis(1);
const READY_WITHIN: Duration = Duration::from_secs(30);

pub async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.section("Start-up, from the start of the process until /readyz is 200");
    let mut stack = Stack::plan().control_env("LOG_LEVEL", "info").edge_env("LOG_LEVEL", "info").start().await;
    let http = client().build()?;
    for plane in [&mut stack.control.plane, &mut stack.edge_planes[0]] {
        let mut durations = Durations::default();
        for _ in 0..STARTS {
            durations.push(start(plane, &http).await?);
        }
        report.figure(plane.process().name(), &durations.summary());
    }
    stack.finish().await;
    Ok(())
}

async fn start(plane: &mut Plane, http: &Client) -> anyhow::Result<Duration> {
    plane.stop().await?;
    let readyz = format!("{}/readyz", plane.ops_url());
    let started = Instant::now();
    plane.start_beside()?;
    while !http.get(&readyz).send().await.is_ok_and(|answer| answer.status().is_success()) {
        anyhow::ensure!(started.elapsed() < READY_WITHIN, "{}", plane.process().quote());
        sleep(LOOKED_EVERY).await;
    }
    Ok(started.elapsed())
}
