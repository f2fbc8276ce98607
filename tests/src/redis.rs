//! A private Redis that a test can kill, flush, freeze, start again empty, or start again from an old dump.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::{
    folder::Folder,
    process::{Launch, Process, on_free_ports, ready},
};

const STARTS_WITHIN: Duration = Duration::from_secs(30);
const DUMP_FILE: &str = "dump.rdb";

/// Whether what was written is there after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    None,
    AppendOnly,
}

/// All that a server held at one moment, as its own dump file.
#[derive(Clone, Debug)]
pub struct Dump(Vec<u8>);

/// A server that is ours alone, running or not; its address stays the same throughout.
#[derive(Debug)]
pub struct Redis {
    folder: PathBuf,
    logs: PathBuf,
    persistence: Persistence,
    port: u16,
    process: Option<Process>,
    _temporary: Option<Folder>,
}

impl Redis {
    /// Starts a server on a new folder that goes with it.
    pub async fn start_temporary() -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        let mut redis = Self::start(folder.path(), folder.path(), Persistence::None).await?;
        redis._temporary = Some(folder);
        Ok(redis)
    }

    /// Starts a server whose data lives in `<folder>/redis`, made if it is not there; its log goes to `<logs>/redis.log`.
    pub async fn start(folder: &Path, logs: &Path, persistence: Persistence) -> anyhow::Result<Self> {
        fs::create_dir_all(folder.join("redis"))?;
        let started = on_free_ports(async |[port]| {
            let _ = fs::remove_file(logs.join("redis.log"));
            Ok((spawn(folder, logs, persistence, port).await?, port))
        });
        let (process, port) = started.await?;
        Ok(Self {
            folder: folder.to_owned(),
            logs: logs.to_owned(),
            persistence,
            port,
            process: Some(process),
            _temporary: None,
        })
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> PathBuf {
        self.logs.join("redis.log")
    }

    /// The server's process, while it runs.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Kills it as a crash does. What follows the last write to disk is lost.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Stops it as an init system does.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(Duration::from_secs(30)).await?;
        }
        Ok(())
    }

    /// Starts it again at the same address, with what it had on disk: nothing, unless it was started with persistence.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.kill().await;
        self.process = Some(spawn(&self.folder, &self.logs, self.persistence, self.port).await?);
        Ok(())
    }

    /// Starts it again at the same address with nothing in it.
    pub async fn start_empty(&mut self) -> anyhow::Result<()> {
        self.kill().await;
        fs::remove_dir_all(self.folder.join("redis"))?;
        fs::create_dir(self.folder.join("redis"))?;
        self.start_again().await
    }

    /// Starts it again at the same address, holding what it held when the dump was taken.
    pub async fn start_from(&mut self, dump: &Dump) -> anyhow::Result<()> {
        self.kill().await;
        fs::write(self.folder.join("redis").join(DUMP_FILE), &dump.0)?;
        self.start_again().await
    }

    /// Takes a dump of all that it holds.
    pub async fn dump(&self) -> anyhow::Result<Dump> {
        self.command(&["SAVE"]).await?;
        Ok(Dump(fs::read(self.folder.join("redis").join(DUMP_FILE))?))
    }

    /// Removes everything that it holds.
    pub async fn flush(&self) -> anyhow::Result<()> {
        self.command(&["FLUSHALL"]).await.map(drop)
    }

    /// Freezes it: connections stay, nothing is answered.
    pub fn pause(&self) {
        self.process.iter().for_each(|process| process.signal(Signal::SIGSTOP));
    }

    /// Goes on after [`Redis::pause`].
    pub fn resume(&self) {
        self.process.iter().for_each(|process| process.signal(Signal::SIGCONT));
    }

    /// Runs one command and returns its reply as `redis-cli` prints it raw: a line for each element.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let mut client = Command::new("redis-cli");
        client.args(["-h", "127.0.0.1", "-p", &port, "-e", "--raw"]).args(words).kill_on_drop(true);
        let output = client.output().await.context("cannot run redis-cli: install Debian's redis-server package")?;
        let reply = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if !output.status.success() {
            bail!("redis-cli {words:?}: {reply} {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(reply)
    }
}

async fn spawn(folder: &Path, logs: &Path, persistence: Persistence, port: u16) -> anyhow::Result<Process> {
    let append_only = if persistence == Persistence::AppendOnly { "yes" } else { "no" };
    let port = port.to_string();
    let launch = Launch::new("redis", "redis-server", folder)
        .log(logs.join("redis.log"))
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", append_only])
        .args(["--maxmemory-policy", "noeviction", "--daemonize", "no", "--dbfilename", DUMP_FILE, "--dir"])
        .arg(folder.join("redis"));
    let process = launch.spawn()?;
    let answers = async || {
        let mut probe = Command::new("redis-cli");
        probe.args(["-h", "127.0.0.1", "-p", &port, "-e", "PING"]).kill_on_drop(true);
        match probe.output().await {
            Ok(output) if output.stdout.trim_ascii() == b"PONG" => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Err(error) => Err(format!("redis-cli: {error}")),
        }
    };
    ready(&process, STARTS_WITHIN, answers).await?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_redis_comes_back_empty_or_from_a_dump_at_the_same_address() {
        let mut redis = Redis::start_temporary().await.expect("a server");
        redis.command(&["SET", "key", "old"]).await.expect("a write");
        let dump = redis.dump().await.expect("a dump");
        redis.command(&["SET", "key", "new"]).await.expect("a write");
        let url = redis.url();

        redis.start_empty().await.expect("a restart");
        assert_eq!(redis.command(&["DBSIZE"]).await.expect("a count"), "0");
        redis.start_from(&dump).await.expect("a restart");
        assert_eq!(redis.command(&["GET", "key"]).await.expect("a value"), "old");
        redis.flush().await.expect("a flush");
        assert_eq!(redis.command(&["DBSIZE"]).await.expect("a count"), "0");
        assert_eq!(redis.url(), url);
    }

    #[tokio::test]
    async fn a_paused_redis_answers_again_once_it_is_resumed() {
        let redis = Redis::start_temporary().await.expect("a server");
        redis.pause();
        let silent = tokio::time::timeout(Duration::from_millis(200), redis.command(&["PING"])).await;
        assert!(silent.is_err(), "it answered though it was paused");
        redis.resume();
        assert_eq!(redis.command(&["PING"]).await.expect("an answer"), "PONG");
    }
}
