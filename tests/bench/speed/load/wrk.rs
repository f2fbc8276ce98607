//! Debian's `wrk` with a script of ours: as many requests as a server answers, and whether each was
//! answered as it should be.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use testbed::processes::folder::Folder;
use tokio::process::Command;

use super::output;

const TELLS: &str = include_str!("wrk.lua");
/// Logins wait for a processor; `wrk` itself gives up after two seconds.
const ANSWERS_WITHIN: &str = "10s";

/// What a server is asked.
pub struct Asked<'a> {
    pub url: &'a str,
    /// What is sent, in Lua.
    pub script: &'a str,
    /// How many connections ask at once, each for the next as soon as it has the answer to the one
    /// before.
    pub connections: usize,
    pub seconds: u64,
    /// Of every answer.
    pub status: u16,
}

/// What it has answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub count: u32,
    pub within: Duration,
}

impl Answered {
    pub fn per_second(&self) -> f64 {
        f64::from(self.count) / self.within.as_secs_f64()
    }
}

/// Asks; an error where an answer has another status than it should, or does not come.
pub async fn ask(asked: &Asked<'_>) -> anyhow::Result<Answered> {
    let folder = Folder::temporary()?;
    let script = folder.path().join("wrk.lua");
    // In a file, for arguments are for all to see, and what is carried is a secret.
    fs::write(&script, format!("{}\nexpected = {}\n{TELLS}", asked.script, asked.status))?;
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", &asked.connections.to_string(), "--timeout", ANSWERS_WITHIN]);
    wrk.args(["--duration", &format!("{}s", asked.seconds), "--script"]).arg(&script).arg(asked.url);
    let told = output(wrk).await?;
    let figures = told.lines().find_map(|line| line.strip_prefix("told ")).with_context(|| told.clone())?;
    let figures: Vec<u32> = figures.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [count, micros, faults] = figures[..] else { anyhow::bail!("three figures, not {figures:?}") };
    ensure!(faults == 0, "{faults} of {count} requests to {} failed:\n{told}", asked.url);
    ensure!(count > 0, "{} answers nothing", asked.url);
    Ok(Answered { count, within: Duration::from_micros(micros.into()) })
}
