//! As many requests as a proxy takes: each connection sends the next as soon as it has the answer to the one before.

use std::{fs, process::Output, time::Duration};

use anyhow::{Context, ensure};
use testbed::folder::Folder;
use tokio::{process::Command, time::timeout};

use super::{Carried, Spoken, Way};

const CONNECTIONS: &str = "64";
/// Of HTTP/2, each with [`STREAMS`] requests at once.
const H2_CONNECTIONS: &str = "8";
const STREAMS: &str = "8";
const MOST_OPEN: u64 = 64;
const SCRIPT: &str = include_str!("wrk.lua");
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What one round found.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub requests_per_second: f64,
    /// Processor time of the proxy's process for one request, in microseconds.
    pub cpu_micros: f64,
    /// The most memory that the proxy has held in the round, in MiB.
    pub peak_mib: f64,
}

/// Loads a proxy for so many seconds; an error where an answer has another status than it should.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub async fn load(way: &Way<'_>, seconds: u64) -> anyhow::Result<Round> {
    way.process.forget_peak()?;
    let before = way.process.cpu_time()?;
    let (requests, took) = match way.spoken {
        Spoken::Http1 | Spoken::Tls => by_wrk(way, seconds).await,
        Spoken::Http2 => by_h2load(way, seconds).await,
    }
    .with_context(|| format!("loading {}", way.name))?;
    let spent = way.process.cpu_time()?.saturating_sub(before);
    ensure!(requests > 0, "{} answered nothing", way.name);
    Ok(Round {
        requests_per_second: requests as f64 / took.as_secs_f64(),
        cpu_micros: spent.as_secs_f64() * 1e6 / requests as f64,
        peak_mib: way.process.peak_resident_bytes()? as f64 / f64::from(1 << 20),
    })
}

/// How many requests were answered, and within which time.
async fn by_wrk(way: &Way<'_>, seconds: u64) -> anyhow::Result<(u64, Duration)> {
    let folder = Folder::temporary()?;
    let script = folder.path().join("wrk.lua");
    // In a file, for arguments are for all to see, and what is carried is a secret.
    fs::write(&script, format!("{}{SCRIPT}", asked(way)))?;
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "1", "-c", CONNECTIONS, "-d", &format!("{seconds}s"), "-s"]).arg(&script).arg(way.url());
    let output = run(wrk).await?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures = told.lines().find_map(|line| line.strip_prefix("told ")).with_context(|| told.clone())?;
    let figures: Vec<u64> = figures.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, micros, faults] = figures[..] else { anyhow::bail!("three figures, not {figures:?}") };
    ensure!(faults == 0, "{faults} of {requests} requests failed:\n{told}");
    Ok((requests, Duration::from_micros(micros)))
}

/// The head of [`SCRIPT`].
fn asked(way: &Way<'_>) -> String {
    let carried = match &way.carried {
        Carried::ByTurns { salt, count } => format!("header = 'x-access-token', salt = '{salt}', count = {count}"),
        always => {
            let (name, value) = always.header(0);
            format!("header = '{name}', value = '{value}'")
        }
    };
    format!("local asked = {{ {carried}, upload_bytes = {}, status = {} }}\n", way.upload_bytes, way.status)
}

async fn by_h2load(way: &Way<'_>, seconds: u64) -> anyhow::Result<(u64, Duration)> {
    let (name, value) = way.carried.header(0);
    let mut h2load = Command::new("h2load");
    h2load.args(["-t", "1", "-c", H2_CONNECTIONS, "-m", STREAMS, "-D", &seconds.to_string()]);
    h2load.args(["-H", &format!("{name}: {value}"), &way.url()]);
    let output = run(h2load).await?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = |before: &str, after: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(before))?;
        line.split(", ").find_map(|part| part.trim().strip_suffix(after)?.trim().parse::<u64>().ok())
    };
    let right = count("status codes: ", " 2xx").context("no count of statuses")?;
    let unanswered = count("requests: ", " failed").context("no count of requests")?;
    let others = [" 3xx", " 4xx", " 5xx"].map(|statuses| count("status codes: ", statuses).unwrap_or_default());
    // What is open when the time is over fails.
    ensure!(others == [0; 3] && unanswered <= MOST_OPEN, "not every request succeeded:\n{told}");
    Ok((right, Duration::from_secs(seconds)))
}

async fn run(mut command: Command) -> anyhow::Result<Output> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = timeout(ENDS_WITHIN, command.kill_on_drop(true).output()).await;
    let output = output.with_context(|| format!("{program} does not end"))?;
    let output = output.with_context(|| format!("cannot run {program}: install what deploy/install-tools.sh names"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
