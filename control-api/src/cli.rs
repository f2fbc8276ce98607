//! The command line: subcommands, signals and exit codes. Exit code 2 means that an option is
//! wrong, 1 that something failed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command prints its result")]

use std::{io::Read, net::IpAddr, process::ExitCode};

use chrono::Utc;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::Value;
use shared::process::{
    settings::{self, EnvFile, Rereading},
    trace::Export,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    api,
    config::{self, CommonOptions, Config, ConfigError, DatabaseOptions, ServeOptions, TokenHour, TokenOptions},
    db::{self, access_token, transaction::Difference},
    domain::{
        self,
        access::{self, Attempt},
        accounts, administration,
        audit::Origin,
        ledger,
        passwords::Passwords,
    },
    input::{Email, FullName, Method, NewPassword, RequestPath, Scalar, Username},
    run::{self, RunError},
    server::reload::{CHANGEABLE, Options, Reload},
    telemetry,
};

/// The control plane of the Zenzefi Gateway: users, tokens, credits, admin
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: CommonOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API
    Serve(Box<ServeOptions>),
    /// Check the configuration of `serve`, and end
    CheckConfig(Box<ServeOptions>),
    /// Change or show the schema of the database
    Migrate {
        #[command(flatten)]
        database: DatabaseOptions,
        #[command(subcommand)]
        action: Migrate,
    },
    /// Create accounts and set passwords; a password is read from USER_PASSWORD or else from the
    /// standard input
    User {
        #[command(flatten)]
        database: DatabaseOptions,
        #[command(subcommand)]
        action: User,
    },
    /// Check whether a token may access a path, and why not. Ignores device leases and reserved
    /// paths
    Access {
        #[command(flatten)]
        database: DatabaseOptions,
        #[command(flatten)]
        token: TokenOptions,
        /// The token's id
        #[arg(long)]
        token_id: Uuid,
        /// The request's method; a scope opens its paths to every one
        #[arg(long, default_value = "GET")]
        method: String,
        /// The path as Zenzefi would get it
        #[arg(long)]
        path: String,
        /// The client's address; wherever the token may be used from if absent
        #[arg(long)]
        address: Option<IpAddr>,
    },
    /// Manage the restore epoch (run `epoch bump` after restoring Postgres from a backup)
    Epoch {
        #[command(flatten)]
        database: DatabaseOptions,
        #[command(subcommand)]
        action: Epoch,
    },
    /// The ledger of credits
    Ledger {
        #[command(flatten)]
        database: DatabaseOptions,
        #[command(subcommand)]
        action: Ledger,
    },
    /// Print the OpenAPI document
    Openapi,
}

#[derive(Subcommand)]
enum Epoch {
    /// Note that Postgres was restored from a backup: what Redis was told before is replaced,
    /// whatever its version
    Bump,
}

#[derive(Subcommand)]
enum Ledger {
    /// Add every user's ledger up anew and name those whose balance is another; exit code 1 if
    /// there are any
    Verify,
}

#[derive(Subcommand)]
enum Migrate {
    /// Apply every pending step
    Up,
    /// Take back the last steps, and the data that only they hold
    Down {
        /// How many
        #[arg(default_value = "1")]
        steps: u32,
    },
    /// Show every step and whether it is applied
    Status,
    /// Drop everything and apply every step anew
    Fresh {
        /// Yes, drop everything; needed unless DEBUG
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
enum User {
    /// Create an account
    Create {
        #[arg(long)]
        email: String,
        #[arg(long)]
        username: String,
        #[arg(long)]
        full_name: Option<String>,
        /// With admin rights
        #[arg(long)]
        superuser: bool,
    },
    /// Set the password of an account, and end its logins
    SetPassword {
        #[arg(long)]
        email: String,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Option(String),
    #[error("{0}")]
    Failed(String),
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// Runs the program.
pub fn main() -> ExitCode {
    let sources = EnvFile::load().and_then(|file| Ok((file, settings::with_secrets_of_files(Cli::command())?)));
    let (file, command) = match sources {
        Ok(sources) => sources,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let matches = command.get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let log_filter = match telemetry::start_logging(&cli.common) {
        Ok(log_filter) => log_filter,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    for misspelled in settings::misspelled() {
        tracing::warn!("{misspelled}");
    }
    let export = match &cli.command {
        Command::Serve(options) => telemetry::start_tracing(&options.tracing),
        _ => Ok(None),
    };
    let export = match export {
        Ok(export) => export,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let reload = || Reload::new(again(Rereading::new(Cli::command(), file, &matches, &CHANGEABLE)), log_filter);
            let done = runtime.block_on(execute(cli, reload));
            // Whatever still runs, as looking a host up may, holds the end up no longer.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(failed(error)),
    };
    export.into_iter().for_each(Export::stop);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error {
                Failure::Config(_) | Failure::Option(_) => ExitCode::from(2),
                Failure::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

async fn execute(cli: Cli, reload: impl FnOnce() -> Reload) -> Result<(), Failure> {
    let debug = cli.common.debug;
    match cli.command {
        Command::Serve(options) => serve(options.check(debug)?, reload()).await,
        Command::CheckConfig(options) => {
            options.check(debug)?;
            println!("The configuration is good.");
            Ok(())
        }
        Command::Migrate { database, action } => migrate(&database, action, debug).await,
        Command::User { database, action } => user(&database, action).await,
        Command::Access { database, token, token_id, method, path, address } => {
            let path = checked::<RequestPath>("--path", path)?;
            checked::<Method>("--method", method)?;
            access(&database, token.hour(debug)?, token_id, &Attempt { path: &path.0, address }).await
        }
        Command::Epoch { database, action: Epoch::Bump } => bump_epoch(&database).await,
        Command::Ledger { database, action: Ledger::Verify } => verify_ledger(&database).await,
        Command::Openapi => openapi(),
    }
}

/// Reads the options of `serve` again.
fn again(mut rereading: Rereading) -> impl FnMut() -> Result<Options, String> {
    move || {
        let check = |matches: &ArgMatches| {
            let cli = Cli::from_arg_matches(matches).map_err(|error| error.kind().to_string())?;
            let Command::Serve(options) = cli.command else {
                return Err("another command than at the start".to_owned());
            };
            let config = options.check(cli.common.debug).map_err(|error| error.to_string())?;
            let log_filter = telemetry::filter(&cli.common.log_level)?;
            Ok(Options { config, log_filter })
        };
        rereading.read(check).map_err(|error| error.to_string())
    }
}

async fn serve(config: Config, reload: Reload) -> Result<(), Failure> {
    // First of all: until it is handled SIGHUP ends the process.
    let hangups = signal(SignalKind::hangup()).map_err(failed)?;
    let listen = |address| async move {
        TcpListener::bind(address)
            .await
            .map_err(|error| Failure::Failed(format!("cannot listen on {address}: {error}")))
    };
    let listener = listen(config.listen).await?;
    let ops_listener = listen(config.ops_listen).await?;
    tracing::info!(listen = %config.listen, ops_listen = %config.ops_listen, "serving");

    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?);
    let mut running = std::pin::pin!(run::run(config, (reload, hangups), listener, ops_listener, stop.clone()));
    loop {
        tokio::select! {
            done = &mut running => return done.map_err(|error| match error {
                RunError::RedisMayEvict { .. } => Failure::Option(error.to_string()),
                error => failed(error),
            }),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // The first signal drains; a second one ends at once.
        if stop.is_cancelled() {
            return Err(Failure::Failed("stopped before open requests had ended".to_owned()));
        }
        tracing::info!("stopping");
        stop.cancel();
    }
}

async fn migrate(database: &DatabaseOptions, action: Migrate, debug: bool) -> Result<(), Failure> {
    if matches!(action, Migrate::Fresh { yes: false }) && !debug {
        return Err(Failure::Option("fresh drops every account and token: say --yes".to_owned()));
    }
    let pool = db::connect_for_migrations(database.url()?.expose()).await.map_err(failed)?;
    match action {
        Migrate::Up => migrations::up(&pool).await.map_err(failed)?,
        Migrate::Down { steps } => migrations::down(&pool, steps).await.map_err(failed)?,
        Migrate::Fresh { .. } => migrations::fresh(&pool).await.map_err(failed)?,
        Migrate::Status => {}
    }
    for step in migrations::status(&pool).await.map_err(failed)? {
        println!("{} {}", if step.is_applied { "applied" } else { "pending" }, step.name);
    }
    Ok(())
}

async fn user(database: &DatabaseOptions, action: User) -> Result<(), Failure> {
    let url = database.url()?.clone();
    let passwords = Passwords::new();
    match action {
        User::Create { email, username, full_name, superuser } => {
            let registration = accounts::Registration {
                email: checked::<Email>("--email", email)?.0,
                username: checked::<Username>("--username", username)?.0,
                password: read_password()?.0,
                full_name: full_name
                    .map(|name| checked::<FullName>("--full-name", name))
                    .transpose()?
                    .map(|name| name.0),
            };
            let pool = db::connect(url.expose(), 1).await.map_err(failed)?;
            let created = accounts::create(&pool, &passwords, &registration, superuser, &Origin::command_line())
                .await
                .map_err(failed)?;
            println!("{}", created.id);
        }
        User::SetPassword { email } => {
            let password = read_password()?;
            let pool = db::connect(url.expose(), 1).await.map_err(failed)?;
            accounts::set_password(&pool, &passwords, &email, &password.0, &Origin::command_line()).await.map_err(
                |error| match error {
                    domain::Error::UserNotFound => Failure::Failed("no user has this e-mail".to_owned()),
                    error => failed(error),
                },
            )?;
        }
    }
    Ok(())
}

fn checked<S: Scalar>(option: &str, text: String) -> Result<S, Failure> {
    S::read(Value::from(text)).map_err(|fault| Failure::Option(format!("{option}: {fault}")))
}

/// The password from the environment, or else the first line of the standard input.
fn read_password() -> Result<NewPassword, Failure> {
    let text = match config::user_password() {
        Some(password) => password.expose().to_owned(),
        None => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(1_024).read_to_string(&mut text);
            read.map_err(|error| Failure::Option(format!("password: {error}")))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
    };
    NewPassword::check(text).map_err(|fault| Failure::Option(format!("password: {fault}")))
}

async fn access(
    database: &DatabaseOptions,
    hour: TokenHour,
    token_id: Uuid,
    attempt: &Attempt<'_>,
) -> Result<(), Failure> {
    let pool = db::connect(database.url()?.expose(), 1).await.map_err(failed)?;
    let owned = access_token::find(&pool, token_id).await.map_err(failed)?;
    let owned = owned.ok_or_else(|| Failure::Failed("there is no such token".to_owned()))?;
    let access = access::dry_run(&owned, hour, attempt, Utc::now()).map_err(failed)?;
    println!("{}", api::access_json(access));
    Ok(())
}

async fn bump_epoch(database: &DatabaseOptions) -> Result<(), Failure> {
    let pool = db::connect(database.url()?.expose(), 1).await.map_err(failed)?;
    let epoch = administration::bump_epoch(&pool, &Origin::command_line()).await.map_err(failed)?;
    println!(
        "The epoch is {epoch} now. Within a second a running control-api publishes every token anew, and removes from Redis"
    );
    println!("what this database does not hold; until it has, edges let in nobody whom they do not know yet (503).");
    Ok(())
}

async fn verify_ledger(database: &DatabaseOptions) -> Result<(), Failure> {
    let pool = db::connect(database.url()?.expose(), 1).await.map_err(failed)?;
    let verified = ledger::verify(&pool).await.map_err(failed)?;
    for Difference { user_id, balance, ledger, lines } in &verified.differences {
        println!("{user_id} has a balance of {balance} ZNC and a ledger of {ledger} ZNC in {lines} lines");
    }
    println!("{} users, {} whose balance and ledger differ", verified.users, verified.differing);
    if verified.differing == 0 { Ok(()) } else { Err(Failure::Failed("the ledger does not add up".to_owned())) }
}

fn openapi() -> Result<(), Failure> {
    println!("{}", api::document());
    Ok(())
}
