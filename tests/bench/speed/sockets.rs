//! WebSockets through the edge, nginx and a bare Pingora: what an idle one holds in memory, and what a message costs.

use std::{
    fmt::Write,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use testbed::{
    actors::{Edge, Token},
    client::client,
    folder::Folder,
    process::{Launch, Process, built_program, on_free_ports, ready},
    socket::{Socket, upgrade},
    stack::Stack,
    wire::Wire,
};
use tokio::{net::TcpStream, task::JoinSet, time::sleep};
use tokio_tungstenite::tungstenite::Message;

use super::{Pace, cores, nginx::Nginx, standin::Standin};
use crate::bench::report::Report;

/// Open before any is counted: what the first of them need is not what each needs.
const WARM: usize = 250;
const IDLE: usize = 10_000;
const IDLE_QUICK: usize = 1_000;
/// A proxy has two files open for each, and some for itself and those that warm it.
const OTHER_FILES: usize = 1_000;
const OPENED_AT_ONCE: usize = 32;
/// For what the opening has left behind to go.
const SETTLES_FOR: Duration = Duration::from_secs(3);
const MOST_KIB: f64 = 24.0;

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

pub async fn measure(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let upstream = Standin::start().await?;
    let stack = Stack::plan()
        .edge_env("ZENZEFI_URL", &upstream.url())
        .edge_env("EDGE_THREADS", "1")
        .edge_env("LOG_LEVEL", "warn")
        .start()
        .await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let nginx = Nginx::tunnelling(&upstream.url()).await?;
    let (bare, bare_url, _folder) = bare(upstream.address()).await?;
    let http = client().build()?;
    let by = |name, url: &str, process| Way { name, edge: stack.edge().by(url, http.clone()), process };
    let ways = [
        by("the edge", stack.edge().url(), stack.edge_planes[0].process()),
        by("nginx", &nginx.url(), nginx.process()),
        by("bare Pingora", &bare_url, &bare),
    ];
    for way in &ways {
        cores::give_first(way.process)?;
    }
    if pace == Pace::Quick {
        idle(&ways[..1], &token, IDLE_QUICK, report).await?;
    } else {
        idle(&ways, &token, IDLE.min((most_files()? - OTHER_FILES) / 2), report).await?;
        echo(&ways, &token, report).await?;
    }
    stack.finish().await;
    Ok(())
}

/// What each holds of idle WebSockets; the first way is the promised one.
async fn idle(ways: &[Way<'_>], token: &Token, count: usize, report: &mut Report) -> anyhow::Result<()> {
    report.section(&format!("{count} idle WebSockets"));
    for (number, way) in ways.iter().enumerate() {
        let warm = open(&way.edge, token, WARM).await?;
        sleep(SETTLES_FOR).await;
        let before = way.process.resident_bytes()?;
        let sockets = open(&way.edge, token, count).await?;
        sleep(SETTLES_FOR).await;
        let grown_kib = u32::try_from(way.process.resident_bytes()?.saturating_sub(before) / 1024)?;
        drop((warm, sockets));
        let each_kib = f64::from(grown_kib) / f64::from(u32::try_from(count)?);
        let (what, figure) = (format!("Memory of {} for each", way.name), format!("{each_kib:.1} KiB"));
        if number == 0 {
            report.promise(&what, &figure, &format!("at most {MOST_KIB} KiB"), each_kib <= MOST_KIB);
        } else {
            report.figure(&what, &figure);
        }
    }
    Ok(())
}

/// Opens so many, and no more of a client for each than a connection.
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
async fn echo(ways: &[Way<'_>], token: &Token, report: &mut Report) -> anyhow::Result<()> {
    report.section(&format!("{ECHOING} WebSockets that echo {} bytes", MESSAGE.len()));
    let mut rates = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, rates) in ways.iter().zip(&mut rates) {
            rates.push(echoes(way, token).await?);
        }
    }
    for (way, rates) in ways.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let figure = format!("{:.0} (from {:.0} to {:.0})", rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]);
        report.figure(&format!("Messages there and back in a processor second of {}", way.name), &figure);
    }
    let medians: Vec<f64> = rates.iter().map(|rates| rates[ROUNDS / 2]).collect();
    for (way, median) in ways.iter().zip(&medians).skip(1) {
        report.figure(&format!("The edge, as a multiple of {}", way.name), &format!("{:.2}", medians[0] / median));
    }
    Ok(())
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

/// A bare Pingora before that server: its process and its origin, and a folder that is to outlive it.
async fn bare(upstream: &str) -> anyhow::Result<(Process, String, Folder)> {
    let folder = Folder::temporary()?;
    let program = built_program("testbed")?.with_file_name("examples").join("bare");
    let (process, listen) = on_free_ports(async |[port]| {
        let listen = format!("127.0.0.1:{port}");
        let process = Launch::new("bare", &program, folder.path()).args([&listen, upstream]).spawn()?;
        let listens = async || TcpStream::connect(&listen).await.map(drop).map_err(|error| error.to_string());
        ready(&process, Duration::from_secs(10), listens).await?;
        Ok((process, listen))
    })
    .await?;
    Ok((process, format!("http://{listen}"), folder))
}

/// How many files a process may have open, which those that we start may too.
fn most_files() -> anyhow::Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    Ok(line.split_whitespace().next().context("no limit of open files")?.parse()?)
}
