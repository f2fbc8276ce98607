//! Debian's `wrk` with a script of ours: as many requests as a server answers, and whether each was answered well.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use testbed::folder::Folder;
use tokio::process::Command;

/// Has it print, last of all, how many answers there were, how many of them of status 400 and above, how many requests got none, and
/// the microseconds that all took.
const TELLS: &str = "
function done(summary)
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format('%d %d %d %d\\n', summary.requests, errors.status, broken, summary.duration))
end
";

/// What a server has answered.
pub struct Answered {
    pub count: u32,
    pub within: Duration,
}

/// Asks on so many connections at once for so long. The script says what, in Lua; an error where an answer is none of success.
pub async fn ask(url: &str, script: &str, connections: usize, length: Duration) -> anyhow::Result<Answered> {
    let folder = Folder::temporary()?;
    let path = folder.path().join("script.lua");
    fs::write(&path, format!("{script}{TELLS}"))?;
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", &connections.to_string()]);
    wrk.args(["--duration", &format!("{}s", length.as_secs()), "--timeout", "10s", "--script"]).arg(&path).arg(url);
    let output = wrk.kill_on_drop(true).output().await.context("cannot run wrk: install Debian's wrk package")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let told = said.trim_end().lines().last().unwrap_or_default();
    let told: Vec<u32> = told
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("wrk has counted nothing: {said}{}", String::from_utf8_lossy(&output.stderr)))?;
    let [count, refused, broken, microseconds] = told[..] else { anyhow::bail!("wrk tells {told:?}") };
    ensure!(refused == 0 && broken == 0, "{refused} of {count} requests to {url} are refused and {broken} broken off");
    Ok(Answered { count, within: Duration::from_micros(microseconds.into()) })
}
