//! The same page through the edge and through nginx's `sub_filter`, by turns.

use std::{path::Path, time::Duration};

use anyhow::ensure;
use bytes::Bytes;
use reqwest::Client;
use testbed::{clients::http::client, processes::process::Process, stack::Stack};
use tokio::task::JoinSet;

use super::page::{count, page, spellings};
use crate::bench::{
    report::{Bound, Goal, Report},
    speed::{
        Pace,
        nginx::Nginx,
        plot::{self, Bar},
        spread::Spread,
    },
};

const PAGE_BYTES: usize = 1_200_000;
const OCCURRENCES: usize = 600;
/// In each round, of each proxy: more than a second of its processor, which is counted in
/// hundredths of one.
const REQUESTS: usize = 800;
const AT_ONCE: usize = 4;

/// Rewritten in a second of processor time, as a multiple of nginx's.
const ONE_SPELLING: Goal = Goal {
    what: "Rewriting, MB in a processor second, as a multiple of sub_filter's: one spelling",
    bound: Bound::AtLeast,
    goal: 1.0,
    held: 0.8,
    unit: "",
};
const ALL_SPELLINGS: Goal = Goal {
    what: "Rewriting, MB in a processor second, as a multiple of sub_filter's: all spellings",
    held: 1.0,
    ..ONE_SPELLING
};

/// One way to a page.
struct Way<'a> {
    name: &'static str,
    url: String,
    cookie: String,
    process: &'a Process,
}

pub async fn measure(pace: Pace, plots: &Path, report: &mut Report) -> anyhow::Result<()> {
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
    let kinds =
        [("in one spelling", 1, &ONE_SPELLING), ("in all the spellings that pages have", named.len(), &ALL_SPELLINGS)];
    let mut bars = Vec::new();
    for (title, spelled, goal) in kinds {
        report.section(&format!("A page of 1.2 MB that names the upstream 600 times, {title}"));
        upstream.serves("page", &page(&named[..spelled], PAGE_BYTES, OCCURRENCES))?;
        let nginx = Nginx::rewriting(&upstream, &named[..spelled], &shown[..spelled]).await?;
        let by_nginx = |name, path: &str| Way {
            name,
            url: format!("{}/{path}/page", nginx.url()),
            cookie: cookie.clone(),
            process: nginx.process(),
        };
        let ways = [
            Way {
                name: "edge",
                url: format!("{}/page", stack.edge().url()),
                cookie: cookie.clone(),
                process: stack.edge_planes[0].process(),
            },
            by_nginx("nginx", "plain"),
            by_nginx("nginx, large buffers", "large"),
            by_nginx("nginx, one large buffer", "streamed"),
        ];
        // The first two are what is guarded.
        let (ways, rounds) = if pace == Pace::Quick { (&ways[..2], 3) } else { (&ways[..], 7) };
        let rates = beside(ways, &named, rounds).await?;
        tell(ways, &rates, goal, report);
        let bar = |(way, of_way): (&Way<'_>, &Vec<f64>)| Bar {
            name: format!("{}: {}", way.name, if spelled == 1 { "one" } else { "all" }),
            spread: Spread::of(of_way),
        };
        bars.extend(ways.iter().zip(&rates).map(bar));
    }
    plot::bars(&plots.join("rewriting.svg"), "MB rewritten in a processor second, of one spelling and of all", &bars)?;
    stack.finish().await;
    Ok(())
}

/// What each way rewrites in a second of its processor time, by turns.
async fn beside(ways: &[Way<'_>], named: &[String], rounds: usize) -> anyhow::Result<Vec<Vec<f64>>> {
    let http = client().http1_only().build()?;
    let mut expected = None;
    for way in ways {
        let body = get(&http, way).await?;
        ensure!(named.iter().all(|named| count(&body, named) == 0), "{} does not rewrite", way.name);
        ensure!(expected.get_or_insert_with(|| body.clone()) == &body, "{} gives another page", way.name);
    }
    let mut rates = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (way, rates) in ways.iter().zip(&mut rates) {
            rates.push(rate(&http, way).await?);
        }
    }
    Ok(rates)
}

fn tell(ways: &[Way<'_>], rates: &[Vec<f64>], goal: &Goal, report: &mut Report) {
    let row = |(way, of_way): (&Way<'_>, &Vec<f64>)| {
        let multiple = Spread::of_ratios(&rates[0], of_way);
        vec![way.name.to_owned(), format!("{:.0}", Spread::of(of_way)), format!("{multiple:.2}")]
    };
    let titles = ["", "MB rewritten in a processor second", "the edge, as a multiple"];
    report.table(&titles, &ways.iter().zip(rates).map(row).collect::<Vec<_>>());
    let multiple = Spread::of_ratios(&rates[0], &rates[1]);
    report.goal(goal, multiple.median, &format!("{multiple:.2}"));
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
