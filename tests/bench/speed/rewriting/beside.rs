//! The same page through the edge and through nginx's `sub_filter`, by turns.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use reqwest::Client;
use testbed::{client::client, process::Process, stack::Stack};
use tokio::task::JoinSet;

use super::page::{count, page, spellings};
use crate::bench::{
    report::Report,
    speed::{Pace, nginx::Nginx, spread::Spread},
};

const PAGE_BYTES: usize = 1_200_000;
const OCCURRENCES: usize = 600;
/// In each round, of each proxy: more than a second of its processor, which is counted in hundredths of one.
const REQUESTS: usize = 800;
const AT_ONCE: usize = 4;
const AT_LEAST: f64 = 1.0;

/// One way to a page.
struct Way<'a> {
    name: &'static str,
    url: String,
    cookie: String,
    process: &'a Process,
}

pub async fn measure(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let upstream = Nginx::of_pages().await?;
    let named = upstream.url();
    let stack = Stack::plan()
        .edge_env("ZENZEFI_URL", &named)
        .edge_env("EDGE_THREADS", "1")
        .edge_env("LOG_LEVEL", "warn")
        .start()
        .await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let cookie = format!("zenzefi_access_token={}", token.text);
    let (named, shown) = (spellings(&named), spellings(stack.edge().url()));
    let rounds = if pace == Pace::Quick { 3 } else { 7 };
    for (title, spelled) in [("in one spelling", 1), ("in all the spellings that pages have", named.len())] {
        report.section(&format!("A page of 1.2 MB that names the upstream 600 times, {title}"));
        upstream.serves("page", &page(&named[..spelled], PAGE_BYTES, OCCURRENCES))?;
        let nginx = Nginx::rewriting(&upstream, &named[..spelled], &shown[..spelled]).await?;
        beside(report, &stack, &cookie, &nginx, &named, rounds).await?;
    }
    stack.finish().await;
    Ok(())
}

/// Of the page by turns through the edge and through nginx.
async fn beside(
    report: &mut Report,
    stack: &Stack,
    cookie: &str,
    nginx: &Nginx,
    named: &[String],
    rounds: usize,
) -> anyhow::Result<()> {
    let way = |name, url: String, process| Way { name, url, cookie: cookie.to_owned(), process };
    let beside = |name, path: &str| way(name, format!("{}/{path}/page", nginx.url()), nginx.process());
    let ways = [
        way("the edge", format!("{}/page", stack.edge().url()), stack.edge_planes[0].process()),
        beside("nginx", "plain"),
        beside("with large buffers", "large"),
        beside("with one large buffer", "streamed"),
    ];
    let http = client().http1_only().build()?;
    let mut expected = None;
    for way in &ways {
        let body = get(&http, way).await?;
        ensure!(named.iter().all(|named| count(&body, named) == 0), "{} does not rewrite", way.name);
        ensure!(expected.get_or_insert_with(|| body.clone()) == &body, "{} gives another page", way.name);
    }
    let mut rates: [Vec<f64>; 4] = Default::default();
    for round in 1..=rounds {
        for (way, rates) in ways.iter().zip(&mut rates) {
            rates.push(rate(&http, way).await?);
        }
        let each = ways.iter().zip(&rates).map(|(way, rates)| format!("{} {:.0}", way.name, rates[round - 1]));
        report.figure(&format!("Round {round}"), &format!("{} MB", each.collect::<Vec<_>>().join(", ")));
    }
    let [edge, plain, large, streamed] = rates.map(|rates| Spread::of(&rates).median);
    report.figure(
        "Rewritten in one second of one processor, median",
        &format!("the edge {edge:.0} MB, nginx {plain:.0} MB, with large buffers {:.0} MB", large.max(streamed)),
    );
    let ratio = edge / plain;
    let promise = format!("at least {AT_LEAST}");
    report.promise("The edge, as a multiple of nginx", &format!("{ratio:.2}"), &promise, ratio >= AT_LEAST);
    let tuned = edge / large.max(streamed);
    report.figure("The edge, as a multiple of nginx with large buffers", &format!("{tuned:.2}"));
    Ok(())
}

/// Megabytes of the page in a second of the proxy's processor time.
async fn rate(http: &Client, way: &Way<'_>) -> anyhow::Result<f64> {
    let before = way.process.cpu_time()?;
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let request = http.get(&way.url).header("Cookie", &way.cookie);
        workers.spawn(async move {
            for _ in 0..REQUESTS / AT_ONCE {
                let request = request.try_clone().expect("it has no body");
                let mut answer = request.send().await?.error_for_status()?;
                while answer.chunk().await?.is_some() {}
            }
            anyhow::Ok(())
        });
    }
    workers.join_all().await.into_iter().collect::<anyhow::Result<()>>()?;
    let spent: Duration = way.process.cpu_time()?.saturating_sub(before);
    Ok(f64::from(u32::try_from(REQUESTS * PAGE_BYTES / 1_000_000)?) / spent.as_secs_f64())
}

async fn get(http: &Client, way: &Way<'_>) -> anyhow::Result<Bytes> {
    Ok(http.get(&way.url).header("Cookie", &way.cookie).send().await?.error_for_status()?.bytes().await?)
}
