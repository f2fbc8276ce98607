//! The testbed's command line: what `make run`, `make test` and `make prove` call.
#![expect(clippy::print_stderr, reason = "a command line tells people what went wrong there")]

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testbed::postgres::{SERVER_VARIABLE, Server};
use tokio::signal::unix::{SignalKind, signal};

/// Starts what tests and developers run the gateway on.
#[derive(Parser)]
#[command(name = "testbed", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command with a private Postgres, named to it in TESTBED_POSTGRES.
    WithPostgres {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::WithPostgres { command } => with_postgres(&command).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("testbed: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs `command` while a private Postgres stands, and ends as it ended.
async fn with_postgres(command: &[String]) -> anyhow::Result<ExitCode> {
    let mut server = Server::start_temporary().await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = tokio::process::Command::new("setpriv");
    child.args(["--pdeathsig", "TERM", "--"]).args(command).env(SERVER_VARIABLE, server.url());
    let mut child = child.spawn().context("cannot run setpriv")?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            // A terminal interrupts the command by itself.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => drop(pid.map(|pid| kill(pid, Signal::SIGTERM))),
        }
    };
    server.stop().await?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
