//! `edge-proxy`: reads the configuration, then serves.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "answers to the person who started the program")]

use std::process::ExitCode;

use clap::{
    CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue},
};
use edge_proxy::{
    config::{Cli, Command, Config},
    edge::Edge,
    process::{
        reload::{self, Reload},
        start,
    },
    telemetry::log,
};
use mimalloc::MiMalloc;
use nix::sys::prctl::set_thp_disable;
use shared::process::{
    settings::{self, EnvFile, Rereading},
    trace::Export,
};

/// Bodies pass in many short-lived buffers of some 100 KiB, which glibc's allocator takes from the
/// kernel again and again. It asks for huge pages, which are forbidden at the start: each would be
/// held for the one idle connection that has something in it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is wrong lies in the configuration.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    let sources = EnvFile::load().and_then(|file| Ok((file, settings::with_secrets_of_files(Cli::command())?)));
    let (file, command) = match sources {
        Ok(sources) => sources,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(MISCONFIGURED);
        }
    };
    let read = command.try_get_matches().and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match read {
        Ok(read) => read,
        Err(error) => return answer(error),
    };
    let done = match cli.command {
        Command::Serve(config) => {
            let log_filter = log::start(config.log_format, &config.log_level);
            if let Err(error) = set_thp_disable(true) {
                tracing::warn!(%error, "idle connections will hold several times the memory that they need");
            }
            for misspelled in settings::misspelled() {
                tracing::warn!("{misspelled}");
            }
            let rereading = Rereading::new(Cli::command(), file, &matches, &reload::CHANGEABLE);
            serve_traced(*config, Reload::new(rereading, log_filter))
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

fn serve_traced(config: Config, reload: Reload) -> Result<ExitCode, String> {
    reload::survive_hangups().map_err(|error| format!("SIGHUP cannot be handled: {error}"))?;
    let export = log::start_tracing(&config.tracing)?;
    let served = start::run(config, reload);
    export.into_iter().for_each(Export::stop);
    served
}

fn check(config: Config) -> Result<(), String> {
    for misspelled in settings::misspelled() {
        eprintln!("warning: {misspelled}");
    }
    Edge::new(config).map(drop)
}

/// Gives the help that was asked for, or says which option is wrong and why; never with its value,
/// which may be a secret.
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
