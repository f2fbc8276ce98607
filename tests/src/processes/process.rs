//! Child processes: each in a group of its own, its output in a log file, ended with its owner
//! whatever happens to that one.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            net::{SocketAddr, UnixListener},
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use nix::{
    sys::signal::{self, Signal},
    unistd::{Pid, User, geteuid},
};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

/// How often a server is started anew because something else took its port in between.
const PORT_ATTEMPTS: usize = 5;
/// Ports are drawn from below Linux' ephemeral range, where no outgoing connection can take one by
/// accident.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 25;

/// What to start. The child sees only the environment that is named here, and `PATH` and `HOME`:
/// what a developer has exported never changes a test.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<String, String>,
    folder: PathBuf,
    log: PathBuf,
    account: Option<User>,
    death_signal: &'static str,
}

impl Launch {
    /// A program to run in `folder`, writing to `<folder>/<name>.log`.
    pub fn new(name: &str, program: impl Into<PathBuf>, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            folder: folder.to_owned(),
            log: folder.join(format!("{name}.log")),
            account: None,
            death_signal: "KILL",
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    pub fn envs<'a>(mut self, variables: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        self.env.extend(variables.into_iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// Writes the output elsewhere than beside the working folder.
    pub fn log(mut self, log: PathBuf) -> Self {
        self.log = log;
        self
    }

    /// Runs as the account that Debian's Postgres belongs to where we are root, which Postgres
    /// refuses to run as.
    pub fn unprivileged(mut self) -> anyhow::Result<Self> {
        self.account = postgres_account()?;
        Ok(self)
    }

    /// The signal that the child gets when its owner dies without having stopped it; `KILL` unless
    /// told otherwise.
    pub fn death_signal(mut self, name: &'static str) -> Self {
        self.death_signal = name;
        self
    }

    fn command(&self) -> anyhow::Result<Command> {
        let output = File::options().create(true).append(true).open(&self.log);
        let output = output.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", self.death_signal]);
        if let Some(account) = &self.account {
            // The data folder may lie below one that only root may enter, such as root's home.
            command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
            command
                .arg(format!("--reuid={}", account.uid))
                .arg(format!("--regid={}", account.gid))
                .arg("--clear-groups");
        }
        command.arg("--").arg(&self.program).args(&self.args);
        command.env_clear().envs(&self.env).current_dir(&self.folder).process_group(0);
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(command)
    }

    /// Starts it.
    pub fn spawn(&self) -> anyhow::Result<Process> {
        let mut command = self.command()?;
        let (started, starting) = std::sync::mpsc::channel();
        let (ended, ending) = watch::channel(None);
        let group = Arc::new(Mutex::new(None));
        let shared_group = Arc::clone(&group);
        // The kernel sends the death signal when the spawning *thread* ends, so the thread that
        // spawns is the one that waits.
        let waiter = thread::Builder::new().name(self.name.clone()).spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(error))),
            };
            let pid = i32::try_from(child.id()).expect("the kernel's process ids fit an i32");
            *shared_group.lock().unwrap_or_else(PoisonError::into_inner) = Some(Pid::from_raw(pid));
            let _ = started.send(Ok(child.id()));
            let status = child.wait().unwrap_or(ExitStatus::from_raw(1 << 8));
            *shared_group.lock().unwrap_or_else(PoisonError::into_inner) = None;
            ended.send_replace(Some(status));
        })?;
        let pid = starting.recv()?.with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Process { name: self.name.clone(), log: self.log.clone(), pid, group, ended: ending, waiter: Some(waiter) })
    }

    /// Runs it to its end; an exit status other than 0 is an error that quotes the output.
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut process = self.spawn()?;
        let status = process.wait().await;
        if !status.success() {
            bail!("{} ended with {status}\n{}", self.name, process.quote());
        }
        Ok(())
    }
}

/// A running child. Dropping it kills its whole group and waits for it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: u32,
    /// The group to signal; `None` once the child was waited for, when its number may belong to
    /// another.
    group: Arc<Mutex<Option<Pid>>>,
    ended: watch::Receiver<Option<ExitStatus>>,
    waiter: Option<JoinHandle<()>>,
}

impl Process {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Signals the child's whole group; nothing where it has ended.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = *self.group.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = signal::killpg(group, signal);
        }
    }

    /// Signals the child alone, as a terminal's or an init system's stop does not.
    pub fn signal_leader(&self, signal: Signal) {
        if let Some(leader) = *self.group.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = signal::kill(leader, signal);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits for it to end.
    pub async fn wait(&mut self) -> ExitStatus {
        let ended = self.ended.wait_for(Option::is_some).await.map(|status| *status);
        ended.ok().flatten().unwrap_or(ExitStatus::from_raw(1 << 8))
    }

    /// Its name and how it ended, once it has; independent of what becomes of this value.
    pub fn watch(&self) -> impl Future<Output = (String, ExitStatus)> + Send + use<> {
        let (name, mut ended) = (self.name.clone(), self.ended.clone());
        async move {
            let status = ended.wait_for(Option::is_some).await.ok().and_then(|status| *status);
            (name, status.unwrap_or(ExitStatus::from_raw(1 << 8)))
        }
    }

    /// Asks it to stop with `SIGTERM` and returns how it ended; it is killed if that takes longer
    /// than `within`.
    pub async fn stop(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.signal_leader(Signal::SIGTERM);
        match timeout(within, self.wait()).await {
            Ok(status) => Ok(status),
            Err(_) => {
                self.kill().await;
                bail!("{} did not stop within {within:?}\n{}", self.name, self.quote())
            }
        }
    }

    /// Kills its group at once and waits for it.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait().await;
    }

    /// The last lines of its log, for an error.
    pub fn quote(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
        format!("--- {} ---\n{}\n", self.log.display(), last.join("\n"))
    }

    /// Memory that it holds now, in bytes, as the kernel counts it.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that it has held since it started or since [`Process::forget_peak`], in
    /// bytes.
    pub fn peak_resident_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    /// Starts to watch for the peak anew. See proc_pid_clear_refs(5).
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.pid), "5")?)
    }

    /// Processor time that it has used, in all its threads.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        Stat::of(self.pid)?.own_time()
    }

    /// The same with its children's, those that have ended among them: what a server of one process
    /// a client has used.
    pub fn cpu_time_with_children(&self) -> anyhow::Result<Duration> {
        let own = Stat::of(self.pid)?;
        let mut time = own.own_time()? + own.ended_children_time()?;
        for process in fs::read_dir("/proc")? {
            // What is no process, or ends meanwhile, has no such file.
            let Ok(stat) = Stat::of(process?.file_name().display()) else { continue };
            if stat.field(4)? == u64::from(self.pid) {
                time += stat.own_time()?;
            }
        }
        Ok(time)
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).with_context(|| format!("no {field}"))?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }
}

/// What the kernel tells of a process, by the numbers of proc_pid_stat(5).
struct Stat(String);

impl Stat {
    fn of(pid: impl std::fmt::Display) -> anyhow::Result<Self> {
        Ok(Self(fs::read_to_string(format!("/proc/{pid}/stat"))?))
    }

    fn own_time(&self) -> anyhow::Result<Duration> {
        Ok(hundredths(self.field(14)? + self.field(15)?))
    }

    fn ended_children_time(&self) -> anyhow::Result<Duration> {
        Ok(hundredths(self.field(16)? + self.field(17)?))
    }

    fn field(&self, number: usize) -> anyhow::Result<u64> {
        // The second, the name in parentheses, may hold anything.
        let fields = self.0.rsplit(')').next().unwrap_or_default();
        Ok(fields.split_whitespace().nth(number - 3).context("no such field")?.parse()?)
    }
}

fn hundredths(of_a_second: u64) -> Duration {
    Duration::from_millis(of_a_second * 10)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join();
        }
    }
}

/// A TCP port on the loopback address that nothing listens on now, and that no other testbed is
/// given while this process lives. Something else may still take it before its new owner does: see
/// [`on_free_ports`].
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..200 {
        let draw = Uuid::new_v4().as_u128() % u128::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(draw).expect("a draw below the length of a range of u16");
        // An abstract name is one per network, whatever folder or account a testbed runs in, and
        // goes with the process.
        let claim = SocketAddr::from_abstract_name(format!("testbed-port-{port}"))?;
        let Ok(claim) = UnixListener::bind_addr(&claim) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            Box::leak(Box::new(claim));
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}

/// Calls `start` with `N` free ports, and again with others while it fails because one was taken
/// meanwhile.
pub async fn on_free_ports<const N: usize, T>(start: impl AsyncFn([u16; N]) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut last = anyhow!("no free port");
    for _ in 0..PORT_ATTEMPTS {
        let mut ports = [0; N];
        for port in &mut ports {
            *port = free_port()?;
        }
        match start(ports).await {
            Err(error) if format!("{error:#}").to_lowercase().contains("address already in use") => last = error,
            other => return other,
        }
    }
    Err(last)
}

/// Waits until `is_ready` says so; an error that quotes the log once the process has ended or
/// `within` has passed.
pub async fn ready(
    process: &Process,
    within: Duration,
    mut is_ready: impl AsyncFnMut() -> Result<(), String>,
) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let answer = is_ready().await;
        if let Some(status) = process.ended() {
            bail!("{} ended with {status}\n{}", process.name, process.quote());
        }
        let Err(reason) = answer else { return Ok(()) };
        if tokio::time::Instant::now() > deadline {
            bail!("{} is not ready after {within:?}: {reason}\n{}", process.name, process.quote());
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// A program of the workspace, as built beside the running executable.
pub fn built_program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file()).with_context(|| {
        format!(
            "{name} is not built beside {}: run `cargo build --workspace` with the same profile first",
            own.display()
        )
    })
}

/// Where cargo puts what it builds, commonly `target`.
pub fn build_folder() -> anyhow::Result<PathBuf> {
    let own = built_program("testbed")?;
    let folder = own.ancestors().nth(2).context("programs lie in a profile's folder below the build folder")?;
    Ok(folder.to_owned())
}

/// The account that Debian's Postgres belongs to, if we are root; `None` where we are not, and
/// everything runs as ourselves.
pub fn postgres_account() -> anyhow::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let account = User::from_name("postgres")?;
    Ok(Some(account.context("there is no account `postgres`: install Debian's postgresql package")?))
}
