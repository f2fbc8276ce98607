//! What the edge adds to a small request: time, and processor time.

use std::{sync::Arc, time::Instant};

use http::Method;
use testbed::{
    clients::http::{Ask, client},
    people::{Token, User},
    stack::Stack,
};
use tokio::task::JoinSet;

use crate::bench::report::{Durations, Report};

const REQUESTS: usize = 20_000;
const AT_ONCE: usize = 16;
const PATH: &str = "/status/200";

pub async fn measure(stack: &Stack, alice: &User, report: &mut Report) -> anyhow::Result<()> {
    report.section("A small request");
    let token = Arc::new(alice.buys(24).await);
    let direct = run(stack.standin.url(), &token).await?;
    let edge = stack.edge_planes[0].process();
    let before = edge.cpu_time()?;
    let started = Instant::now();
    let through = run(stack.edge().url().to_owned(), &token).await?;
    let elapsed = started.elapsed();
    let spent = edge.cpu_time()?.saturating_sub(before);
    let requests = u32::try_from(REQUESTS)?;
    report.figure("Straight to the upstream", &direct.summary());
    report.figure("Through the edge", &through.summary());
    report.figure(
        "Through the edge, in all",
        &format!("{:.0} requests a second", f64::from(requests) / elapsed.as_secs_f64()),
    );
    report.figure("Processor time of the edge", &format!("{} µs a request", (spent / requests).as_micros()));
    Ok(())
}

/// Sends all requests on kept connections, `concurrency` at once.
async fn run(origin: String, token: &Arc<Token>) -> anyhow::Result<Durations> {
    let http = client().http1_only().build()?;
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (http, url, token) = (http.clone(), format!("{origin}{PATH}"), token.clone());
        workers.spawn(async move {
            let mut durations = Vec::new();
            for _ in 0..REQUESTS / AT_ONCE {
                let started = Instant::now();
                let request = http.request(Method::GET, &url).header("X-Access-Token", &token.text);
                request.answer().await.expect(200);
                durations.push(started.elapsed());
            }
            durations
        });
    }
    let mut all = Durations::default();
    workers.join_all().await.into_iter().flatten().for_each(|duration| all.push(duration));
    Ok(all)
}
