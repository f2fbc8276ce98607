//! As many requests as a proxy takes: each connection sends the next as soon as it has the answer
//! to the one before.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::{
    Carried, H2_AGENT, Spoken, Way, output,
    wrk::{self, Answered, Asked},
};
use crate::bench::report::mib;

const CONNECTIONS: usize = 64;
/// Of HTTP/2, each with [`STREAMS`] requests at once.
const H2_CONNECTIONS: &str = "8";
const STREAMS: &str = "8";
const MOST_OPEN: u32 = 64;

/// What one round found.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub requests_per_second: f64,
    /// Processor time of the proxy's process for one request, in microseconds.
    pub cpu_micros: f64,
    /// The most memory that the proxy has held in the round, in MiB.
    pub peak_mib: f64,
}

/// Loads a proxy for this number of seconds; an error where an answer has another status than it
/// should.
pub async fn load(way: &Way<'_>, seconds: u64) -> anyhow::Result<Round> {
    way.process.forget_peak()?;
    let before = way.process.cpu_time()?;
    let answered = match way.spoken {
        Spoken::Http1 | Spoken::Tls => by_wrk(way, seconds).await,
        Spoken::Http2 => by_h2load(way, seconds).await,
    }
    .with_context(|| format!("loading {}", way.name))?;
    let spent = way.process.cpu_time()?.saturating_sub(before);
    Ok(Round {
        requests_per_second: answered.per_second(),
        cpu_micros: spent.as_secs_f64() * 1e6 / f64::from(answered.count),
        peak_mib: mib(way.process.peak_resident_bytes()?),
    })
}

async fn by_wrk(way: &Way<'_>, seconds: u64) -> anyhow::Result<Answered> {
    let (url, script) = (way.url(), script(way));
    wrk::ask(&Asked { url: &url, script: &script, connections: CONNECTIONS, seconds, status: way.status }).await
}

/// What a way is asked, for wrk. Where all requests are alike it makes one and calls nothing of
/// this for each.
fn script(way: &Way<'_>) -> String {
    let carries = match &way.carried {
        Carried::ByTurns { salt, count } => format!(
            "local turn = 0
             function request()
                 turn = turn % {count} + 1
                 wrk.headers['x-access-token'] = string.format('{salt}%032d', turn)
                 return wrk.format()
             end\n"
        ),
        always => {
            let (name, value) = always.header(0);
            format!("wrk.headers['{name}'] = '{value}'\n")
        }
    };
    match way.upload_bytes {
        0 => carries,
        bytes => format!("{carries}wrk.method, wrk.body = 'POST', string.rep('x', {bytes})\n"),
    }
}

async fn by_h2load(way: &Way<'_>, seconds: u64) -> anyhow::Result<Answered> {
    let (name, value) = way.carried.header(0);
    let mut h2load = Command::new("h2load");
    h2load.args(["-t", "1", "-c", H2_CONNECTIONS, "-m", STREAMS, "-D", &seconds.to_string()]);
    h2load.args(["-H", &format!("user-agent: {H2_AGENT}"), "-H", &format!("{name}: {value}"), &way.url()]);
    let told = output(h2load).await?;
    let count = |before: &str, after: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(before))?;
        line.split(", ").find_map(|part| part.trim().strip_suffix(after)?.trim().parse::<u32>().ok())
    };
    let right = count("status codes: ", " 2xx").context("no count of statuses")?;
    let unanswered = count("requests: ", " failed").context("no count of requests")?;
    let others = [" 3xx", " 4xx", " 5xx"].map(|statuses| count("status codes: ", statuses).unwrap_or_default());
    // What is open when the time is over fails.
    ensure!(others == [0; 3] && unanswered <= MOST_OPEN, "not every request succeeded:\n{told}");
    ensure!(right > 0, "no request succeeded:\n{told}");
    Ok(Answered { count: right, within: Duration::from_secs(seconds) })
}
