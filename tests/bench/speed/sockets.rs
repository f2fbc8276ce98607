//! WebSockets through the edge, nginx and a bare Pingora: what an idle one holds in memory, and
//! what a message costs.

use std::{
    fmt::Write,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use testbed::{
    clients::{
        http::client,
        raw_http::Wire,
        websocket::{Socket, upgrade},
    },
    people::{Edge, Token},
    processes::process::Process,
    stack::Stack,
};
use tokio::{task::JoinSet, time::sleep};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Pace, cores,
    listener::Listener,
    nginx::Nginx,
    plot::{self, Bar},
    spread::Spread,
};
use crate::bench::report::{Bound, Goal, Report};

/// Open before any is counted: what the first of them need is not what each needs.
const WARM: usize = 250;
const IDLE: usize = 10_000;
const IDLE_QUICK: usize = 1_000;
/// A proxy has two files open for each, and some for itself and those that warm it.
const OTHER_FILES: usize = 1_000;
const OPENED_AT_ONCE: usize = 32;
/// For what the opening has left behind to go.
const SETTLES_FOR: Duration = Duration::from_secs(3);

const IDLE_HOLDS: Goal =
    Goal { what: "An idle WebSocket in the edge's memory", bound: Bound::AtMost, goal: 24.0, held: 12.0, unit: " KiB" };

const ECHOING: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const MESSAGE: &str = "a small message, as an application sends";

/// One way to the upstream; each is an [`Edge`] to its clients.
struct Way<'a> {
    name: &'static str,
    edge: Edge,
    process: &'a Process,
}

pub async fn measure(pace: Pace, plots: &Path, report: &mut Report) -> anyhow::Result<()> {
    let upstream = Listener::standin().await?;
    let stack = Stack::plan()
        .edge_env("ZENZEFI_URL", &upstream.url())
        .edge_env("EDGE_THREADS", "1")
        .edge_env("LOG_LEVEL", "warn")
        .start()
        .await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let nginx = Nginx::tunnelling(&upstream.url()).await?;
    let bare = Listener::bare_pingora(upstream.address()).await?;
    let http = client().build()?;
    let by = |name, url: &str, process| Way { name, edge: stack.edge().by(url, http.clone()), process };
    let ways = [
        by("edge", stack.edge().url(), stack.edge_planes[0].process()),
        by("nginx", &nginx.url(), nginx.process()),
        by("bare Pingora", &bare.url(), bare.process()),
    ];
    for way in &ways {
        cores::give_first(way.process)?;
    }
    if pace == Pace::Quick {
        idle(&ways[..1], &token, IDLE_QUICK, report).await?;
    } else {
        let held = idle(&ways, &token, IDLE.min((most_files()? - OTHER_FILES) / 2), report).await?;
        draw(&ways, &held, &plots.join("idle-sockets.svg"), "Memory of the proxy for an idle WebSocket, in KiB")?;
        let rates = echo(&ways, &token, report).await?;
        let title = "Messages there and back in a processor second of the proxy";
        draw(&ways, &rates, &plots.join("echoes.svg"), title)?;
    }
    stack.finish().await;
    Ok(())
}

fn draw(ways: &[Way<'_>], figures: &[Vec<f64>], path: &Path, title: &str) -> anyhow::Result<()> {
    let bar = |(way, of_way): (&Way<'_>, &Vec<f64>)| Bar { name: way.name.to_owned(), spread: Spread::of(of_way) };
    plot::bars(path, title, &ways.iter().zip(figures).map(bar).collect::<Vec<_>>())
}

/// The KiB that each holds of an idle WebSocket; the first way is the edge.
async fn idle(ways: &[Way<'_>], token: &Token, count: usize, report: &mut Report) -> anyhow::Result<Vec<Vec<f64>>> {
    report.section(&format!("{count} idle WebSockets"));
    let mut held = Vec::new();
    for (number, way) in ways.iter().enumerate() {
        let warm = open(&way.edge, token, WARM).await?;
        sleep(SETTLES_FOR).await;
        let before = way.process.resident_bytes()?;
        let sockets = open(&way.edge, token, count).await?;
        sleep(SETTLES_FOR).await;
        let grown_kib = u32::try_from(way.process.resident_bytes()?.saturating_sub(before) / 1024)?;
        drop((warm, sockets));
        let each_kib = f64::from(grown_kib) / f64::from(u32::try_from(count)?);
        if number == 0 {
            report.goal(&IDLE_HOLDS, each_kib, &format!("{each_kib:.1}"));
        } else {
            report.figure(&format!("The same in that of {}", way.name), &format!("{each_kib:.1} KiB"));
        }
        held.push(vec![each_kib]);
    }
    Ok(held)
}

/// Opens this number, each by no more of a client than a connection.
async fn open(edge: &Edge, token: &Token, count: usize) -> anyhow::Result<Vec<Wire>> {
    let asked = upgrade(edge, token, None, "every_ms=3600000");
    let mut head = format!("GET {} HTTP/1.1\r\n", asked.uri().path_and_query().context("it has a path")?);
    for (name, value) in asked.headers() {
        write!(head, "{name}: {}\r\n", value.to_str()?)?;
    }
    head.push_str("\r\n");
    let mut workers = JoinSet::new();
    for worker in 0..OPENED_AT_ONCE {
        let (url, head) = (edge.url().to_owned(), head.clone());
        workers.spawn(async move {
            let mut sockets = Vec::new();
            for _ in (worker..count).step_by(OPENED_AT_ONCE) {
                let mut wire = Wire::connect(&url).await?;
                wire.send(&head).await?;
                let answer = wire.answer().await?;
                ensure!(answer.status == 101, "a WebSocket is answered {}", answer.status);
                sockets.push(wire);
            }
            anyhow::Ok(sockets)
        });
    }
    let opened = workers.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(opened.into_iter().flatten().collect())
}

/// How many echoes each passes on in a second of its processor time, by turns.
async fn echo(ways: &[Way<'_>], token: &Token, report: &mut Report) -> anyhow::Result<Vec<Vec<f64>>> {
    report.section(&format!("{ECHOING} WebSockets that echo {} bytes", MESSAGE.len()));
    let mut rates = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, rates) in ways.iter().zip(&mut rates) {
            rates.push(echoes(way, token).await?);
        }
    }
    for (way, each) in ways.iter().zip(&rates) {
        let figure = format!("{:.0}", Spread::of(each));
        report.figure(&format!("Messages there and back in a processor second of {}", way.name), &figure);
    }
    for (way, each) in ways.iter().zip(&rates).skip(1) {
        let ratio = Spread::of_ratios(&rates[0], each);
        report.figure(&format!("The edge, as a multiple of {}", way.name), &format!("{ratio:.2}"));
    }
    Ok(rates)
}

async fn echoes(way: &Way<'_>, token: &Token) -> anyhow::Result<f64> {
    let mut sockets = Vec::new();
    for _ in 0..ECHOING {
        sockets.push(Socket::idle(&way.edge, token, None).await?);
    }
    let before = way.process.cpu_time()?;
    let until = Instant::now() + ROUND;
    let mut workers = JoinSet::new();
    for mut socket in sockets {
        workers.spawn(async move {
            let mut count = 0;
            while Instant::now() < until {
                socket.send(Message::text(MESSAGE)).await;
                ensure!(socket.next().await == Message::text(MESSAGE), "something else is echoed");
                count += 1;
            }
            Ok(count)
        });
    }
    let count = workers.join_all().await.into_iter().sum::<anyhow::Result<u32>>()?;
    let spent = way.process.cpu_time()?.saturating_sub(before);
    Ok(f64::from(count) / spent.as_secs_f64())
}

/// How many files a process may have open, which those that we start may too.
fn most_files() -> anyhow::Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    Ok(line.split_whitespace().next().context("no limit of open files")?.parse()?)
}
