//! `edge-proxy`: reads the configuration, then serves.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "answers to the person who started the program")]

use std::process::ExitCode;

use clap::{
    CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue},
};
use edge_proxy::{
    Edge,
    config::{Cli, Command, Config},
    listening::Listeners,
    serve, telemetry,
};
use mimalloc::MiMalloc;
use shared::{settings, trace::Export};

/// Bodies pass in many short-lived buffers of some 100 KiB, which glibc's allocator takes from the kernel again and again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is wrong lies in the configuration.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    // Of the working folder alone. None is the usual case; one that cannot be read must not be passed over.
    if let Err(error) = dotenvy::from_path(".env")
        && !error.not_found()
    {
        eprintln!("error: .env cannot be read");
        return ExitCode::from(MISCONFIGURED);
    }
    let command = match settings::with_secrets_of_files(Cli::command()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(MISCONFIGURED);
        }
    };
    let command = match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.command,
        Err(error) => return answer(error),
    };
    let done = match command {
        Command::Serve(config) => {
            telemetry::start(config.log_format, &config.log_level);
            for misspelled in settings::misspelled() {
                tracing::warn!("{misspelled}");
            }
            serve_traced(*config)
        }
        Command::CheckConfig(config) => check(*config).map(|()| {
            println!("The configuration is good.");
            ExitCode::SUCCESS
        }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(MISCONFIGURED)
    })
}

fn serve_traced(config: Config) -> Result<ExitCode, String> {
    let export = telemetry::start_tracing(&config.tracing)?;
    let served = serve::run(config);
    export.into_iter().for_each(Export::stop);
    served
}

fn check(config: Config) -> Result<(), String> {
    for misspelled in settings::misspelled() {
        eprintln!("warning: {misspelled}");
    }
    let listeners = Listeners::find(None).map_err(|error| error.to_string())?;
    Edge::new(config, listeners).map(drop)
}

/// Gives the help that was asked for, or says which option is wrong and why; never with its value, which may be a secret.
fn answer(mut error: clap::Error) -> ExitCode {
    if error.get(ContextKind::InvalidValue).is_some() {
        error.insert(ContextKind::InvalidValue, ContextValue::String("(hidden)".to_owned()));
    }
    let is_printed = error.print().is_ok();
    match u8::try_from(error.exit_code()) {
        Ok(code) if is_printed => ExitCode::from(code),
        _ => ExitCode::from(MISCONFIGURED),
    }
}
