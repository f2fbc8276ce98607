//! A private Postgres: one server a run, one migrated template in it, one cloned database a test.
//!
//! `testbed with-postgres -- COMMAND` starts the server of a run and names it to the command in
//! [`SERVER_VARIABLE`], so that tests share it though each is a process of its own. A test that
//! finds no such variable starts a server for itself.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::process::Command;
use uuid::Uuid;

use crate::processes::{
    folder::{Folder, give_to},
    process::{Launch, Process, built_program, on_free_ports, postgres_account, ready},
};

/// Names the server that a run shares: `postgres://postgres@127.0.0.1:PORT`.
pub const SERVER_VARIABLE: &str = "TESTBED_POSTGRES";

/// The oldest major version that the schema is written for.
const OLDEST_VERSION: u32 = 15;
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const PREDECESSOR_ENDS_WITHIN: Duration = Duration::from_secs(15);
const TEMPLATE: &str = "zenzefi_template";

/// What survives a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: for tests, which throw the server away.
    None,
    /// Everything that was committed.
    Full,
}

/// A running server that is ours alone.
#[derive(Debug)]
pub struct Server {
    process: Process,
    url: String,
    /// Kept for its end: the data goes with it.
    _folder: Option<Folder>,
}

impl Server {
    /// Starts a server on a new folder that goes with it.
    pub async fn start_temporary() -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        let mut server = Self::start(folder.path(), folder.path(), Durability::None).await?;
        server._folder = Some(folder);
        Ok(server)
    }

    /// Starts a server whose data lives in `<folder>/postgres`, made if it is not there; its log
    /// goes to `<logs>/postgres.log`.
    pub async fn start(folder: &Path, logs: &Path, durability: Durability) -> anyhow::Result<Self> {
        let programs = programs()?;
        let cluster = folder.join("postgres");
        if !cluster.join("data/PG_VERSION").is_file() {
            create_cluster(&programs, logs, &cluster).await?;
        }
        predecessor_ended(&cluster).await;
        let process = on_free_ports(async |[port]| {
            let log = logs.join("postgres.log");
            let _ = fs::remove_file(&log);
            let launch = Launch::new("postgres", programs.join("postgres"), &cluster)
                .log(log)
                .unprivileged()?
                // Postgres ends its own children on INT; on KILL they would have to notice.
                .death_signal("INT")
                .arg("-D")
                .arg(cluster.join("data"))
                .args(settings(&cluster, port, durability));
            let process = launch.spawn()?;
            ready(&process, STARTS_WITHIN, async || accepts(&programs, port).await).await?;
            Ok((process, port))
        });
        let (process, port) = process.await?;
        Ok(Self { process, url: format!("postgres://postgres@127.0.0.1:{port}"), _folder: None })
    }

    /// Where it is, without a database's name.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it without waiting for its clients, losing nothing that was committed.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.signal_leader(Signal::SIGINT);
        match tokio::time::timeout(Duration::from_secs(30), self.process.wait()).await {
            Ok(status) => Ok(status),
            Err(_) => bail!("postgres did not stop\n{}", self.process.quote()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(template_lock(&self.url));
    }
}

/// One test's database: a clone of the migrated template, dropped with it.
#[derive(Debug)]
pub struct Database {
    url: String,
    name: String,
    server_url: String,
    server: Option<Arc<Server>>,
}

impl Database {
    /// Clones the template, on the run's server or on one of its own.
    pub async fn create() -> anyhow::Result<Self> {
        match std::env::var(SERVER_VARIABLE) {
            Ok(url) => Self::create_on(url, None).await,
            Err(_) => {
                let server = Server::start_temporary().await?;
                Self::create_on(server.url().to_owned(), Some(Arc::new(server))).await
            }
        }
    }

    async fn create_on(server_url: String, server: Option<Arc<Server>>) -> anyhow::Result<Self> {
        migrate_template(&server_url).await?;
        let name = format!("test_{}", Uuid::new_v4().simple());
        let clone = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy");
        query(&format!("{server_url}/postgres"), &clone).await?;
        Ok(Self { url: format!("{server_url}/{name}"), name, server_url, server })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server, where it is this database's own.
    pub fn server(&self) -> Option<&Process> {
        self.server.as_ref().map(|server| server.process())
    }

    /// Runs a statement and returns what `psql` prints of its rows: values apart by `|`, rows by
    /// line ends.
    pub async fn query(&self, statement: &str) -> anyhow::Result<String> {
        query(&self.url, statement).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.server.is_none() {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            let maintenance = format!("{}/postgres", self.server_url);
            let _ = std::process::Command::new("psql").args(psql_args(&maintenance, &drop)).output();
        }
    }
}

/// Runs a statement on the database at `url`; see [`Database::query`].
pub async fn query(url: &str, statement: &str) -> anyhow::Result<String> {
    let output = Command::new("psql").args(psql_args(url, statement)).kill_on_drop(true).output().await;
    let output = output.context("cannot run psql: install Debian's postgresql package")?;
    if !output.status.success() {
        bail!("`{statement}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Brings the database at `url` to the newest schema, as a deployment does.
pub async fn migrate(url: &str, folder: &Path) -> anyhow::Result<()> {
    let migrate = Launch::new("migrate", built_program("control-api")?, folder).args(["migrate", "up"]);
    migrate.env("DATABASE_URL", url).run().await
}

fn psql_args<'a>(url: &'a str, statement: &'a str) -> [&'a str; 8] {
    ["--no-psqlrc", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]
}

/// The lock that the maker of a server's template holds.
fn template_lock(server_url: &str) -> PathBuf {
    let port = server_url.rsplit(':').next().unwrap_or_default();
    std::env::temp_dir().join(format!("testbed-template-{port}.lock"))
}

/// Makes the run's template once; tests that start together wait for the one that makes it.
async fn migrate_template(server_url: &str) -> anyhow::Result<()> {
    let lock = template_lock(server_url);
    let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    // Blocks this thread; its other tasks could not go on without the template either.
    lock.lock()?;
    let maintenance = format!("{server_url}/postgres");
    let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{TEMPLATE}'");
    if query(&maintenance, &exists).await? == "1" {
        return Ok(());
    }
    let folder = Folder::temporary()?;
    let unfinished = format!("{TEMPLATE}_unfinished");
    query(&maintenance, &format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")).await?;
    query(&maintenance, &format!("CREATE DATABASE {unfinished}")).await?;
    migrate(&format!("{server_url}/{unfinished}"), folder.path()).await?;
    query(&maintenance, &format!("ALTER DATABASE {unfinished} RENAME TO {TEMPLATE}")).await?;
    Ok(())
}

/// Where the newest installed server's programs lie; Debian keeps them out of `PATH`.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let numbers = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = numbers.filter(|version| *version >= OLDEST_VERSION).max();
    let newest = newest.context("Postgres 15 is not installed: install Debian's postgresql package")?;
    Ok(PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin")))
}

async fn create_cluster(programs: &Path, logs: &Path, cluster: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(cluster);
    fs::create_dir(cluster).with_context(|| format!("cannot create {}", cluster.display()))?;
    if let Some(account) = postgres_account()? {
        give_to(cluster, &account)?;
    }
    let initdb = Launch::new("initdb", programs.join("initdb"), cluster)
        .log(logs.join("initdb.log"))
        .unprivileged()?
        .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions", "-D"])
        .arg(cluster.join("data"));
    initdb.run().await
}

/// Waits, within bounds, for the server of a run that was killed: it stops by itself, and nobody
/// may touch its data before.
async fn predecessor_ended(cluster: &Path) {
    let is_running = || {
        let pid_file = fs::read_to_string(cluster.join("data/postmaster.pid")).ok()?;
        let pid = pid_file.lines().next()?.trim().parse().ok()?;
        signal::kill(Pid::from_raw(pid), None).ok()
    };
    let deadline = Instant::now() + PREDECESSOR_ENDS_WITHIN;
    while is_running().is_some() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn settings(cluster: &Path, port: u16, durability: Durability) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", socket_folder(cluster).display()),
        "max_connections=400".to_owned(),
    ];
    if durability == Durability::None {
        let unsafe_but_fast = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off"];
        settings.extend(unsafe_but_fast.map(str::to_owned));
        settings.push("shared_buffers=32MB".to_owned());
    }
    settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

/// The kernel takes no socket path longer than 107 bytes; a deep checkout then does without a
/// socket of its own folder.
fn socket_folder(cluster: &Path) -> &Path {
    const LONGEST: usize = 107 - "/.s.PGSQL.65535.lock".len();
    if cluster.as_os_str().len() <= LONGEST { cluster } else { Path::new("/tmp") }
}

async fn accepts(programs: &Path, port: u16) -> Result<(), String> {
    let mut probe = Command::new(programs.join("pg_isready"));
    probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).kill_on_drop(true);
    match probe.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("pg_isready: {status}")),
        Err(error) => Err(format!("pg_isready: {error}")),
    }
}
