//! The two programs of the gateway as child processes.

use std::{collections::BTreeMap, path::Path, process::ExitStatus, time::Duration};

use anyhow::Context;
use tokio::process::Command;

use crate::{
    clients::http::{Ask, client},
    processes::process::{Launch, Process, built_program, on_free_ports, ready},
};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// What a program reads of its environment.
pub type Environment = BTreeMap<String, String>;

/// Makes an [`Environment`] of pairs.
pub fn environment<const N: usize>(pairs: [(&str, &str); N]) -> Environment {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Which of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    ControlApi,
    EdgeProxy,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlApi => "control-api",
            Self::EdgeProxy => "edge-proxy",
        }
    }

    /// The variables that say where it listens: for its users, and for its operators.
    fn listen_variables(self) -> [&'static str; 2] {
        match self {
            Self::ControlApi => ["CONTROL_LISTEN", "CONTROL_OPS_LISTEN"],
            Self::EdgeProxy => ["EDGE_LISTEN", "EDGE_OPS_LISTEN"],
        }
    }
}

/// A program that serves, or that a test has killed.
#[derive(Debug)]
pub struct Plane {
    program: Program,
    environment: Environment,
    launch: Launch,
    process: Process,
    url: String,
    ops_url: String,
}

impl Plane {
    /// Starts a program on these two ports of the loopback address and waits until it says that it
    /// is ready. Its log goes to `<logs>/<name>.log`.
    pub async fn start(
        program: Program,
        name: &str,
        logs: &Path,
        ports: [u16; 2],
        environment: &Environment,
    ) -> anyhow::Result<Self> {
        let mut launch = Launch::new(name, built_program(program.name())?, logs).arg("serve").envs(environment);
        for (variable, port) in program.listen_variables().into_iter().zip(ports) {
            launch = launch.env(variable, format!("127.0.0.1:{port}"));
        }
        let [url, ops_url] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let process = launch.spawn()?;
        let plane = Self { program, environment: environment.clone(), launch, process, url, ops_url };
        plane.ready().await?;
        Ok(plane)
    }

    /// Starts the same program once more, with the same environment on ports of its own. Its log
    /// goes to `<logs>/<name>.log`.
    pub async fn replica(&self, name: &str, logs: &Path) -> anyhow::Result<Self> {
        on_free_ports(async |ports| Self::start(self.program, name, logs, ports, &self.environment).await).await
    }

    /// Its origin, for its users.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The origin of its private listener.
    pub fn ops_url(&self) -> &str {
        &self.ops_url
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it as a crash does.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Stops it as an init system does.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.stop(STOPS_WITHIN).await
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process.kill().await;
        self.process = self.launch.spawn()?;
        self.ready().await
    }

    /// Has it find this in its environment from its next start on.
    pub fn configure(&mut self, variable: &str, value: &str) {
        self.environment.insert(variable.to_owned(), value.to_owned());
        self.launch = self.launch.clone().env(variable, value);
    }

    /// Starts the program once more where it was, beside itself; the process that served so far.
    pub fn start_beside(&mut self) -> anyhow::Result<Process> {
        let successor = self.launch.spawn()?;
        Ok(std::mem::replace(&mut self.process, successor))
    }

    /// Runs another of the program's commands to its end, configured like this one; what it wrote,
    /// on either stream, where it succeeds.
    pub async fn runs(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(built_program(self.program.name())?);
        // A folder without a .env above it.
        command.args(args).env_clear().envs(&self.environment).current_dir("/").kill_on_drop(true);
        let output = command.output().await?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        anyhow::ensure!(output.status.success(), "{} {args:?}: {}\n{said}", self.program.name(), output.status);
        Ok(said)
    }

    /// The sum of a metric's samples whose labels hold `labels`; 0 where there is none.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let http = client().build().expect("a client");
        let text = http.get(format!("{}/metrics", self.ops_url)).answer().await.text();
        let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(labels));
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let http = client().build().context("cannot make a client")?;
        let readyz = format!("{}/readyz", self.ops_url);
        let is_ready = async || match http.get(&readyz).timeout(Duration::from_secs(5)).try_answer().await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
            Err(error) => Err(format!("{error:?}")),
        };
        ready(&self.process, READY_WITHIN, is_ready).await
    }
}

/// Makes an administrator the way an operator does, on the command line. `environment` is what
/// control-api is configured with; the log goes to `<logs>/create-superuser.log`.
pub async fn create_superuser(
    email: &str,
    password: &str,
    logs: &Path,
    environment: &Environment,
) -> anyhow::Result<()> {
    let create = Launch::new("create-superuser", built_program(Program::ControlApi.name())?, logs)
        .args(["user", "create", "--superuser", "--email", email, "--username", "admin"])
        .envs(environment)
        .env("USER_PASSWORD", password);
    create.run().await
}
