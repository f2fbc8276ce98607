//! A private Redis that a test can kill, flush, freeze, start again empty, or start again from an
//! old dump.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use shared::redis::calls::Call;
use tokio::process::Command;
use uuid::Uuid;

use crate::processes::{
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

    /// Starts a server whose data lives in `<folder>/redis`, made if it is not there; its log goes
    /// to `<logs>/redis.log`.
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

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is, as `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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

    /// Starts it again at the same address, with what it had on disk: nothing, unless it was
    /// started with persistence.
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

    /// Writes down every command that it is given from now on.
    pub async fn monitor(&self) -> anyhow::Result<Monitor> {
        let log = self.logs.join(format!("commands-{}.log", Uuid::new_v4().simple()));
        let launch = Launch::new("redis-cli", "redis-cli", &self.folder).log(log.clone());
        let process = launch.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "MONITOR"]).spawn()?;
        let has_begun = async || match fs::read_to_string(&log) {
            Ok(log) if log.starts_with("OK") => Ok(()),
            other => Err(format!("{other:?}")),
        };
        ready(&process, STARTS_WITHIN, has_begun).await?;
        Ok(Monitor { process, log })
    }

    /// Runs one command and returns its reply as `redis-cli` prints it raw: a line for each
    /// element.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        command(self.port, words).await
    }

    /// Calls a script as the programs do; its reply, a text for each element.
    pub async fn call<C: Call>(&self, call: &C) -> anyhow::Result<Vec<String>> {
        self.call_on(call, |key| key).await
    }

    /// The same, with other keys in place of its own.
    pub async fn call_on<C: Call>(&self, call: &C, key: impl Fn(String) -> String) -> anyhow::Result<Vec<String>> {
        let (keys, args): (Vec<String>, _) = (call.keys().into_iter().map(key).collect(), call.args());
        let count = keys.len().to_string();
        let given = keys.iter().map(String::as_str).chain(args.iter().map(|arg| &**arg));
        let words: Vec<&str> = ["EVAL", C::SCRIPT.lua(), &count].into_iter().chain(given).collect();
        Ok(self.command(&words).await?.split('\n').map(str::to_owned).collect())
    }
}

/// Runs one command on whatever speaks Redis' protocol on that port; see [`Redis::command`].
pub async fn command(port: u16, words: &[&str]) -> anyhow::Result<String> {
    let port = port.to_string();
    let mut client = Command::new("redis-cli");
    client.args(["-h", "127.0.0.1", "-p", &port, "-e", "--raw"]).args(words).kill_on_drop(true);
    let output = client.output().await.context("cannot run redis-cli: install Debian's redis-server package")?;
    let reply = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if !output.status.success() {
        bail!("redis-cli {words:?}: {reply} {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(reply)
}

/// What a server is told, as `MONITOR` shows it.
#[derive(Debug)]
pub struct Monitor {
    process: Process,
    log: PathBuf,
}

impl Monitor {
    /// The commands of its clients until now, each in a line of its own; what scripts call is not
    /// among them.
    pub async fn commands(&self, redis: &Redis) -> anyhow::Result<Vec<String>> {
        let mark = Uuid::new_v4().to_string();
        redis.command(&["ECHO", &mark]).await?;
        let mut log = String::new();
        let has_come = async || {
            log = fs::read_to_string(&self.log).map_err(|error| error.to_string())?;
            if log.contains(&mark) { Ok(()) } else { Err("the server has not shown them yet".to_owned()) }
        };
        ready(&self.process, STARTS_WITHIN, has_come).await?;
        let is_a_clients = |line: &&str| line.contains('"') && !line.contains(" lua] ") && !line.contains(&mark);
        Ok(log.lines().filter(is_a_clients).map(str::to_owned).collect())
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
    async fn a_monitor_shows_the_commands_of_clients_and_not_those_of_scripts() {
        let redis = Redis::start_temporary().await.expect("a server");
        redis.command(&["SET", "key", "before"]).await.expect("a write");
        let monitor = redis.monitor().await.expect("a monitor");
        redis.command(&["EVAL", "return redis.call('GET', KEYS[1])", "1", "key"]).await.expect("a value");
        let commands = monitor.commands(&redis).await.expect("commands");
        assert!(matches!(&commands[..], [only] if only.contains("EVAL")), "{commands:?}");
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
