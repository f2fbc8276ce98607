//! What an edge holds in memory of the tokens in use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use testbed::{clients::raw_http::Wire, people::Token, stack::Stack};
use tokio::task::JoinSet;

use crate::bench::report::Report;

/// After how many tokens, each used once, the edge is looked at.
const STEPS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const AT_ONCE: usize = 32;
/// In all; what is not reached by then is not measured.
const MEASURED_FOR: Duration = Duration::from_secs(420);

pub async fn measure(stack: &Stack, tokens: Vec<Token>, report: &mut Report) -> anyhow::Result<()> {
    report.section("Memory of an edge, by tokens in use");
    let edge = stack.edge_planes[0].process();
    report.figure("None", &mib(edge.resident_bytes()?));
    let tokens: Arc<[Token]> = tokens.into();
    let started = Instant::now();
    let mut used = 0;
    for step in STEPS {
        used = use_each(stack, &tokens, used..step, started + MEASURED_FOR).await?;
        let took = started.elapsed().as_secs();
        report.figure(&format!("{used}"), &format!("{}, after {took} s", mib(edge.resident_bytes()?)));
        if used < step {
            report.figure("Not measured", &format!("{step}, for which there was no time"));
            break;
        }
    }
    Ok(())
}

/// Uses each of these tokens once, until then; up to which of them it was.
async fn use_each(
    stack: &Stack,
    tokens: &Arc<[Token]>,
    range: std::ops::Range<usize>,
    until: Instant,
) -> anyhow::Result<usize> {
    let next = Arc::new(AtomicUsize::new(range.start));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (tokens, next, url, end) = (tokens.clone(), next.clone(), stack.edge().url().to_owned(), range.end);
        workers.spawn(async move {
            let mut wire = Wire::connect(&url).await?;
            let mut used = 0;
            while Instant::now() < until {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= end {
                    break;
                }
                let head = format!("GET /status/200 HTTP/1.1\r\nHost: {}\r\n", url.trim_start_matches("http://"));
                wire.send(format!("{head}X-Access-Token: {}\r\n\r\n", tokens[turn].text)).await?;
                let answer = wire.answer().await?;
                ensure!(answer.status == 200, "a token is answered {}", answer.status);
                used += 1;
            }
            Ok(used)
        });
    }
    let used = workers.join_all().await.into_iter().sum::<anyhow::Result<usize>>()?;
    Ok(range.start + used)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / (1024 * 1024))
}
