//! `make run`: the whole gateway on this machine, in the foreground, its data kept from one run to
//! the next.

mod folder;
mod operator;

use std::{
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Value, json};
use testbed::{
    clients::http::{Ask, client},
    processes::{
        process::{Launch, Process, free_port, ready},
        programs::{Environment, Plane, Program, environment},
    },
    servers::{
        postgres::{self, Durability, Server},
        redis::{Persistence, Redis},
    },
};
use tokio::signal::unix::{SignalKind, signal};

use folder::{RunFolder, Secrets};
use operator::{Operator, SUPERUSER_EMAIL, first_token};

/// Configuration of the programs that is taken over from the caller's environment, so that a
/// developer can try it.
const TAKEN_OVER: [&str; 14] = [
    "ACCESS_TOKEN_EXPIRE_MINUTES",
    "DEVICE_POLICY",
    "FORWARD_ACCESS_TOKEN",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "TIME_LEFT_NOTICE",
    "TOKEN_PRICE_12H",
    "TOKEN_PRICE_1H",
    "TOKEN_PRICE_24H",
    "TOKEN_PRICE_30D",
    "TOKEN_PRICE_7D",
    "ZENZEFI_BASIC_AUTH",
    "ZENZEFI_CA_FILE",
    "ZENZEFI_TLS_VERIFY",
];
const DATABASE: &str = "zenzefi";

/// Start everything on this machine and stay in the foreground until Ctrl-C.
#[derive(Args, Debug)]
pub struct Options {
    /// Where data, logs and stack.json live.
    #[arg(long, default_value = ".run")]
    folder: PathBuf,
    /// A real server to put behind the edge instead of the stand-in: https://host[:port].
    #[arg(long, env = "UPSTREAM")]
    upstream: Option<String>,
    /// Port of the edge on the loopback address.
    #[arg(long, env = "EDGE_PORT", default_value_t = 8000)]
    edge_port: u16,
    /// Port of the control API on the loopback address.
    #[arg(long, env = "CONTROL_PORT", default_value_t = 8001)]
    control_port: u16,
}

/// Runs the stack until it is told to stop; an error where something does not start, or dies.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let run_folder = RunFolder::lock(&options.folder)?;
    for (port, variable) in [(options.edge_port, "EDGE_PORT"), (options.control_port, "CONTROL_PORT")] {
        TcpListener::bind(("127.0.0.1", port))
            .with_context(|| format!("port {port} is taken; choose another with {variable}=…"))?;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stack = tokio::select! {
        started = Stack::start(options, &run_folder) => started?,
        _ = interrupt.recv() => bail!("interrupted while starting"),
        _ = terminate.recv() => bail!("interrupted while starting"),
    };
    let announcement = run_folder.announce(&stack.describe())?;
    println!("{}", stack.welcome(options));
    let mut ends: FuturesUnordered<_> = stack.processes().map(|process| process.watch()).collect();
    let died = tokio::select! {
        ended = ends.next() => ended,
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    drop(announcement);
    println!("\nStopping …");
    tokio::select! {
        stopped = stack.stop() => stopped?,
        _ = interrupt.recv() => bail!("interrupted while stopping; what was left has been killed"),
    }
    if let Some((name, status)) = died {
        bail!("{name} ended with {status}; its log is {}", run_folder.logs().join(format!("{name}.log")).display());
    }
    println!("Stopped; the data is kept in {}.", options.folder.display());
    Ok(())
}

/// Everything that runs, in the order in which it was started.
struct Stack {
    postgres: Server,
    redis: Redis,
    standin: Option<Process>,
    upstream: String,
    control: Plane,
    edge: Plane,
    secrets: Secrets,
    token: String,
}

impl Stack {
    async fn start(options: &Options, folder: &RunFolder) -> anyhow::Result<Self> {
        let secrets_file = folder.path.join("secrets.json");
        let mut secrets = Secrets::load_or_draw(&secrets_file)?;
        let logs = folder.logs();
        let postgres = step("Postgres", Server::start(&folder.path, &logs, Durability::Full)).await?;
        let redis = step("Redis", Redis::start(&folder.path, &logs, Persistence::AppendOnly)).await?;
        let database_url = format!("{}/{DATABASE}", postgres.url());
        step("Schema", migrate(&postgres, &database_url, &logs)).await?;
        let (standin, upstream) = match &options.upstream {
            Some(upstream) => (None, upstream.clone()),
            None => {
                let (process, url) = step("Stand-in Zenzefi", start_standin(&logs)).await?;
                (Some(process), url)
            }
        };
        let configuration = Configuration { options, redis_url: redis.url(), taken_over: taken_over() };
        let control_environment = configuration.control(&database_url, &secrets.secret_key);
        let ports = [options.control_port, free_port()?];
        let starting = Plane::start(Program::ControlApi, "control-api", &logs, ports, &control_environment);
        let control = step("control-api", starting).await?;
        let ports = [options.edge_port, free_port()?];
        let edge_environment = configuration.edge(&upstream, control.url());
        let starting = Plane::start(Program::EdgeProxy, "edge-proxy", &logs, ports, &edge_environment);
        let edge = step("edge-proxy", starting).await?;
        let operator = Operator { control: control.url(), edge: edge.url(), http: client().build()? };
        let first = first_token(&operator, &mut secrets, &logs, &control_environment);
        let token = step("Superuser and first token", first).await?;
        secrets.save(&secrets_file)?;
        Ok(Self { postgres, redis, standin, upstream, control, edge, secrets, token })
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        let servers = [Some(self.postgres.process()), self.redis.process(), self.standin.as_ref()];
        servers.into_iter().flatten().chain([self.control.process(), self.edge.process()])
    }

    /// Stops everything, what depends on others first.
    async fn stop(&mut self) -> anyhow::Result<()> {
        for plane in [&mut self.edge, &mut self.control] {
            plane.stop().await?;
        }
        if let Some(standin) = &mut self.standin {
            standin.stop(Duration::from_secs(10)).await?;
        }
        self.redis.stop().await?;
        self.postgres.stop().await?;
        Ok(())
    }

    fn describe(&self) -> Value {
        json!({
            "edge": self.edge.url(),
            "control": self.control.url(),
            "edge_ops": self.edge.ops_url(),
            "control_ops": self.control.ops_url(),
            "upstream": self.upstream,
            "postgres": format!("{}/{DATABASE}", self.postgres.url()),
            "redis": self.redis.url(),
            "superuser": { "email": SUPERUSER_EMAIL, "password": self.secrets.superuser_password },
            "token": self.token,
            "pids": {
                "control-api": self.control.process().pid(),
                "edge-proxy": self.edge.process().pid(),
                "postgres": self.postgres.process().pid(),
                "redis": self.redis.process().map(Process::pid),
                "upstream": self.standin.as_ref().map(Process::pid),
            },
        })
    }

    fn welcome(&self, options: &Options) -> String {
        let (edge, control, token) = (self.edge.url(), self.control.url(), &self.token);
        let (password, folder) = (&self.secrets.superuser_password, options.folder.display());
        format!(
            "
The gateway is running.

  Edge           {edge}
  Console        {control}/console   to buy as anybody, to administer as the superuser
  Control API    {control}   documented at {control}/docs
  Upstream       {}
  Superuser      {SUPERUSER_EMAIL}   {password}
  Access token   {token}
  Rate limits    raised: a minute 100000 requests a token, 10000 calls a user, 1000 unknown tokens an address;
                 an hour 10000 registrations and 1000 failed logins an address

All of this stands in {folder}/stack.json, logs are in {folder}/logs/. Try, in another shell:

  curl -H 'X-Access-Token: {token}' {edge}/certificates/filter
  curl -H 'X-Access-Token: {token}' {edge}/api/v1/proxy/status
  curl {edge}/api/v1/auth/login -H 'Content-Type: application/json' \\
    -d '{{\"email\": \"{SUPERUSER_EMAIL}\", \"password\": \"{password}\"}}'

or open {edge}/ in a browser and paste the token. Ctrl-C stops everything and keeps the data.",
            self.upstream
        )
    }
}

/// The environments of the two programs.
struct Configuration<'a> {
    options: &'a Options,
    redis_url: String,
    taken_over: Environment,
}

impl Configuration<'_> {
    fn public_origin(&self) -> String {
        let port = self.options.edge_port;
        format!("http://127.0.0.1:{port},http://localhost:{port}")
    }

    fn control(&self, database_url: &str, secret_key: &str) -> Environment {
        let mut control = environment([
            ("DATABASE_URL", database_url),
            ("REDIS_URL", &self.redis_url),
            ("SECRET_KEY", secret_key),
            ("PUBLIC_ORIGIN", &self.public_origin()),
            ("LOGIN_FAILURES_PER_HOUR", "1000"),
            ("REGISTRATIONS_PER_HOUR", "10000"),
            ("USER_REQUESTS_PER_MINUTE", "10000"),
            // Credits can be bought here without paying, which is for development only.
            ("DEBUG", "true"),
            ("PAYMENT_PROVIDER", "mock"),
            ("PAYMENT_WEBHOOK_SECRET", &format!("payments-{secret_key}")),
        ]);
        control.extend(self.taken_over.clone());
        control
    }

    fn edge(&self, upstream: &str, control_url: &str) -> Environment {
        let mut edge = environment([
            ("REDIS_URL", &self.redis_url),
            ("ZENZEFI_URL", upstream),
            ("PUBLIC_ORIGIN", &self.public_origin()),
            ("CONTROL_API_URL", control_url),
            ("CONSOLE_URL", &format!("{control_url}/console")),
            ("UNKNOWN_TOKENS_PER_MINUTE", "1000"),
            ("TOKEN_REQUESTS_PER_MINUTE", "100000"),
            ("TOKEN_OPEN_REQUESTS", "10000"),
            ("TOKEN_OPEN_WEBSOCKETS", "10000"),
        ]);
        if self.options.upstream.is_none() {
            edge.insert("ZENZEFI_TLS_VERIFY".to_owned(), "false".to_owned());
        }
        edge.extend(self.taken_over.clone());
        edge
    }
}

fn taken_over() -> Environment {
    let set = TAKEN_OVER.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    set.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Does one thing and tells how long it took.
async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    print!("  {what} … ");
    std::io::stdout().flush()?;
    let started = Instant::now();
    let outcome = work.await;
    match &outcome {
        Ok(_) => println!("ready ({:.1} s)", started.elapsed().as_secs_f64()),
        Err(_) => println!("failed"),
    }
    outcome.with_context(|| format!("{what} does not start"))
}

async fn migrate(postgres: &Server, database_url: &str, logs: &Path) -> anyhow::Result<()> {
    let maintenance = format!("{}/postgres", postgres.url());
    let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
    if postgres::query(&maintenance, &exists).await?.is_empty() {
        postgres::query(&maintenance, &format!("CREATE DATABASE {DATABASE}")).await?;
    }
    postgres::migrate(database_url, logs).await
}

async fn start_standin(logs: &Path) -> anyhow::Result<(Process, String)> {
    let [https, http] = [free_port()?, free_port()?].map(|port| format!("127.0.0.1:{port}"));
    let program = std::env::current_exe()?;
    let launch = Launch::new("upstream", program, logs).args(["standin", "--https", &https, "--http", &http]);
    let process = launch.spawn()?;
    let url = format!("https://{https}");
    let probe = client().build()?.get(&url);
    let answers = async || match probe.try_clone().expect("a request without a body").try_answer().await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    ready(&process, Duration::from_secs(30), answers).await?;
    Ok((process, url))
}
