//! The testbed's command line: what `make run`, `make test`, `make prove` and `make bench` call.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line speaks to people there")]

#[path = "../bench/mod.rs"]
mod bench;
mod run;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand, builder::FalseyValueParser};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testbed::{
    house,
    servers::postgres::{SERVER_VARIABLE, Server},
    upstreams::standin::Standin,
};
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
    /// Print figures on the sources: modules, circles of imports, lengths, widths.
    House {
        /// The root of a checkout; an earlier one, to compare.
        #[arg(default_value = ".")]
        root: PathBuf,
    },
    /// Serve the stand-in Zenzefi until SIGTERM.
    Standin {
        /// Where it listens for HTTPS, with a self-signed certificate.
        #[arg(long, default_value = "127.0.0.1:8443")]
        https: SocketAddr,
        /// Where it listens for plain HTTP.
        #[arg(long, default_value = "127.0.0.1:8080")]
        http: SocketAddr,
    },
    Stack(run::Options),
    /// Measure what is promised in figures, print it and write prove/report.md in the build folder.
    Prove {
        /// What to measure; everything if nothing is named.
        #[arg(value_enum, env = "PROVE_ONLY", value_delimiter = ',')]
        sections: Vec<bench::prove::Section>,
        /// Measure what takes ten minutes, too.
        #[arg(long, env = "PROVE_LONG", value_parser = FalseyValueParser::new())]
        long: bool,
    },
    /// Measure how fast the gateway is, beside others of its kind; print it and write
    /// bench/report.md in the build folder.
    Bench {
        /// What to measure; everything if nothing is named.
        #[arg(value_enum, env = "BENCH_ONLY", value_delimiter = ',')]
        sections: Vec<bench::speed::Section>,
        /// Only see, in less than three minutes, whether a goal is lost.
        #[arg(long)]
        quick: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::WithPostgres { command } => with_postgres(&command).await,
        Command::House { root } => {
            print!("{}", house::report(&root));
            Ok(ExitCode::SUCCESS)
        }
        Command::Standin { https, http } => standin(https, http).await,
        Command::Stack(options) => run::run(&options).await.map(|()| ExitCode::SUCCESS),
        Command::Prove { sections, long } => Box::pin(bench::prove(&sections, long)).await.map(|()| ExitCode::SUCCESS),
        Command::Bench { sections, quick } => {
            let pace = if quick { bench::speed::Pace::Quick } else { bench::speed::Pace::Full };
            Box::pin(bench::bench(&sections, pace)).await.map(|()| ExitCode::SUCCESS)
        }
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

async fn standin(https: SocketAddr, http: SocketAddr) -> anyhow::Result<ExitCode> {
    let standin = Standin::start(https, http).await?;
    println!("stand-in Zenzefi: {} and {}", standin.url(), standin.http_url());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}
