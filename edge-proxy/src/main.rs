//! `edge-proxy`: reads the configuration, then serves.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "answers to the person who started the program")]

use std::process::ExitCode;

use clap::Parser;
use edge_proxy::{
    Edge,
    config::{Cli, Command},
    telemetry,
};

/// What is wrong lies in the configuration.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    // A missing .env is the usual case; one that cannot be read must not be passed over.
    if let Err(error) = dotenvy::dotenv()
        && !error.not_found()
    {
        eprintln!("error: .env cannot be read");
        return ExitCode::from(MISCONFIGURED);
    }
    let done = match Cli::parse().command {
        Command::Serve(config) => {
            telemetry::start(config.log_format, &config.log_level);
            edge_proxy::run(*config)
        }
        Command::CheckConfig(config) => Edge::new(*config).map(|_| println!("The configuration is good.")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(MISCONFIGURED)
        }
    }
}
