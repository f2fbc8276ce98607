//! The whole gateway, private to one test: Postgres, Redis, the stand-in, one control plane, one or
//! more edges.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context;
use uuid::Uuid;

use crate::{
    clients::http::client,
    eventually,
    people::{ControlApi, Edge, NewUser, Token, User},
    processes::{
        fault_link::Link,
        folder::Folder,
        process::on_free_ports,
        programs::{Environment, Plane, Program, create_superuser, environment},
        secrets::Secrets,
    },
    servers::{postgres::Database, redis::Redis},
    upstreams::standin::Standin,
};

/// How many edges a stack has at most.
const MOST_EDGES: usize = 3;
/// Two for the control plane, two for each edge.
const PORTS: usize = 2 + 2 * MOST_EDGES;

/// How the edges reach the stand-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// By HTTPS, taking any certificate.
    Unverified,
    /// By HTTPS, taking what the system's roots vouch for: not the stand-in's own certificate.
    Verified,
    /// By HTTPS, taking only the stand-in's own certificate.
    Pinned,
    /// By HTTP, which is HTTP/1.1 then.
    Plain,
}

/// What a test wants other than the default: one edge, nothing configured but what must be.
#[derive(Clone, Debug)]
pub struct Plan {
    edges: usize,
    upstream: Upstream,
    control: Environment,
    edge: Environment,
    /// Variables that neither program is given.
    left_out: Vec<String>,
    has_link: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let (control, edge) = (Environment::new(), Environment::new());
        Self { edges: 1, upstream: Upstream::Unverified, control, edge, left_out: Vec::new(), has_link: false }
    }
}

impl Plan {
    pub fn edges(mut self, edges: usize) -> Self {
        assert!((1..=MOST_EDGES).contains(&edges), "a stack has 1 to {MOST_EDGES} edges");
        self.edges = edges;
        self
    }

    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstream = upstream;
        self
    }

    /// Sets a variable of control-api.
    pub fn control_env(mut self, name: &str, value: &str) -> Self {
        self.control.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets a variable of every edge.
    pub fn edge_env(mut self, name: &str, value: &str) -> Self {
        self.edge.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets a variable of both programs, of those that are meant for tests alone.
    pub fn debug_env(self, name: &str, value: &str) -> Self {
        self.control_env("DEBUG", "true").edge_env("DEBUG", "true").control_env(name, value).edge_env(name, value)
    }

    /// Leaves a variable of both programs to the file `.env` of [`Stack::folder`].
    pub fn left_to_file(mut self, name: &str) -> Self {
        self.left_out.push(name.to_owned());
        self
    }

    /// Puts a [`Link`] between the first edge and Redis.
    pub fn first_edge_by_link(mut self) -> Self {
        self.has_link = true;
        self
    }

    pub async fn start(self) -> Stack {
        match Stack::start_planned(&self).await {
            Ok(stack) => stack,
            Err(error) => panic!("the stack does not start: {error:?}"),
        }
    }
}

/// A running gateway. End a test with [`Stack::finish`], which checks what must hold after any
/// test.
#[derive(Debug)]
pub struct Stack {
    pub control: Control,
    pub edges: Vec<Edge>,
    pub edge_planes: Vec<Plane>,
    pub standin: Standin,
    pub redis: Redis,
    /// Between the first edge and Redis, if it was planned.
    pub link: Option<Link>,
    pub database: Database,
    pub secrets: Secrets,
    /// Statuses of 500 and above that the test has provoked.
    announced: Vec<u16>,
    folder: Folder,
}

/// The control plane of a stack.
#[derive(Debug)]
pub struct Control {
    pub plane: Plane,
    pub api: ControlApi,
    /// A superuser.
    pub admin: Arc<User>,
}

impl Control {
    /// Somebody who registers when awaited.
    pub fn user(&self, name: &str) -> NewUser {
        NewUser { name: name.to_owned(), credits: None, control: self.api.clone(), admin: self.admin.clone() }
    }
}

impl Stack {
    /// A stack of one edge.
    pub async fn start() -> Self {
        Plan::default().start().await
    }

    pub fn plan() -> Plan {
        Plan::default()
    }

    /// The working folder of both programs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The first edge.
    pub fn edge(&self) -> &Edge {
        &self.edges[0]
    }

    /// Allows answers of this status, 500 or above, in this test.
    pub fn announce(&mut self, status: u16) {
        self.announced.push(status);
    }

    /// Waits until every edge may call an unknown token bad. Right after its start it cannot know
    /// yet, and answers `503`, which this announces.
    pub async fn settle(&mut self) {
        self.announce(503);
        for edge in &self.edges {
            eventually!(edge.token_status(&Token::stranger()).await, |status| *status == 401);
        }
    }

    /// Starts another control plane, set up as the first, beside it.
    pub async fn second_control_plane(&self) -> Plane {
        let second = self.control.plane.replica("control-api-2", self.folder.path()).await;
        second.unwrap_or_else(|error| panic!("no second control plane: {error:?}"))
    }

    async fn start_planned(plan: &Plan) -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        let secrets = Secrets::default();
        let (database, redis, standin) =
            tokio::try_join!(Database::create(), Redis::start_temporary(), Standin::start_on_free_ports())?;
        let secret_key = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        secrets.remember("SECRET_KEY", &secret_key);
        let link = match plan.has_link {
            true => Some(Link::to(&redis.address()).await?),
            false => None,
        };
        let wiring = Wiring {
            plan,
            database_url: database.url(),
            redis_url: &redis.url(),
            link: link.as_ref(),
            standin: &standin,
            secret_key: &secret_key,
        };
        let (plane, edge_planes) = on_free_ports(async |ports| wiring.start_planes(ports, folder.path()).await).await?;
        let http = client().build()?;
        let api = ControlApi { url: plane.url().to_owned(), http: http.clone(), secrets: secrets.clone() };
        let admin = Arc::new(administrator(&api, database.url(), &folder, &secret_key).await?);
        let edges = edge_planes.iter().map(|plane| Edge { url: plane.url().to_owned(), http: http.clone() }).collect();
        let control = Control { plane, api, admin };
        let announced = Vec::new();
        Ok(Self { control, edges, edge_planes, standin, redis, link, database, secrets, announced, folder })
    }

    /// Ends the test: everything published, both programs stopping gracefully, no panic, no
    /// unannounced `5xx` and no secret in any log.
    pub async fn finish(mut self) {
        if self.control.plane.process().ended().is_none() && self.redis.process().is_some() {
            eventually!(self.database.query("SELECT count(*) FROM outbox").await.expect("a count"), |left| left == "0");
        }
        let planes = self.edge_planes.iter_mut().chain([&mut self.control.plane]);
        for plane in planes.filter(|plane| plane.process().ended().is_none()) {
            let status = plane.stop().await.expect("a graceful stop");
            assert!(status.success(), "{} ended with {status}\n{}", plane.process().name(), plane.process().quote());
        }
        let log = fs::read_to_string(self.control.plane.process().log()).expect("a log");
        assert!(log.contains("status="), "no access line in the log: nothing below would be found");
        let mut faults = Vec::new();
        let logs = fs::read_dir(self.folder.path()).expect("the test's folder").flatten().map(|entry| entry.path());
        for log in logs.chain([self.redis.log()]) {
            faults.extend(self.secrets.found_in(&log));
            let text = fs::read_to_string(&log).unwrap_or_default();
            let is_fault = |line: &&str| line.contains("panicked at") || self.is_unannounced(line);
            faults.extend(text.lines().filter(is_fault).map(|line| format!("{}: {line}", log.display())));
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// Whether an access line tells of a server error that the test has not provoked.
    fn is_unannounced(&self, line: &str) -> bool {
        let statuses = line.match_indices("status=").map(|(at, key)| &line[at + key.len()..]);
        let codes = statuses.filter_map(|rest| rest.get(..3)?.parse::<u16>().ok());
        codes.into_iter().any(|code| code >= 500 && !self.announced.contains(&code))
    }
}

/// The options by which the programs of a stack find each other and their servers.
struct Wiring<'a> {
    plan: &'a Plan,
    database_url: &'a str,
    redis_url: &'a str,
    link: Option<&'a Link>,
    standin: &'a Standin,
    secret_key: &'a str,
}

impl Wiring<'_> {
    /// Starts the control plane on the first two ports and each edge on the next two.
    async fn start_planes(&self, ports: [u16; PORTS], logs: &Path) -> anyhow::Result<(Plane, Vec<Plane>)> {
        let (control_ports, edge_ports) = ports.as_chunks::<2>().0.split_first().context("two ports")?;
        let edge_ports = &edge_ports[..self.plan.edges];
        let names = |port: u16| [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")];
        let public_origin = edge_ports.iter().flat_map(|ports| names(ports[0])).collect::<Vec<_>>().join(",");
        let environment = self.control(&public_origin);
        let control = Plane::start(Program::ControlApi, "control-api", logs, *control_ports, &environment).await?;
        let environment = self.edge(&public_origin, control.url(), logs)?;
        let mut edges = Vec::new();
        for (number, ports) in edge_ports.iter().enumerate() {
            let name = format!("edge-proxy-{number}");
            let mut environment = environment.clone();
            if let (0, Some(link)) = (number, self.link) {
                environment.insert("REDIS_URL".to_owned(), format!("redis://{}", link.address()));
            }
            edges.push(Plane::start(Program::EdgeProxy, &name, logs, *ports, &environment).await?);
        }
        Ok((control, edges))
    }

    fn control(&self, public_origin: &str) -> Environment {
        let mut control = self.both(public_origin);
        control.extend(environment([
            ("DATABASE_URL", self.database_url),
            ("DATABASE_MAX_CONNECTIONS", "8"),
            ("SECRET_KEY", self.secret_key),
            ("LOGIN_FAILURES_PER_HOUR", "0"),
            ("REGISTRATIONS_PER_HOUR", "0"),
            ("USER_REQUESTS_PER_MINUTE", "0"),
        ]));
        control.extend(self.plan.control.clone());
        self.leave_out(&mut control);
        control
    }

    fn edge(&self, public_origin: &str, control_url: &str, folder: &Path) -> anyhow::Result<Environment> {
        let mut edge = self.both(public_origin);
        edge.extend(environment([
            ("CONTROL_API_URL", control_url),
            ("CONSOLE_URL", &format!("{control_url}/console")),
            ("EDGE_THREADS", "2"),
            ("DRAIN_SECONDS", "2"),
            ("UNKNOWN_TOKENS_PER_MINUTE", "0"),
            ("TOKEN_REQUESTS_PER_MINUTE", "0"),
            ("TOKEN_OPEN_REQUESTS", "0"),
            ("TOKEN_OPEN_WEBSOCKETS", "0"),
        ]));
        let (https, http) = (self.standin.url(), self.standin.http_url());
        edge.extend(match self.plan.upstream {
            Upstream::Unverified => environment([("ZENZEFI_URL", &https), ("ZENZEFI_TLS_VERIFY", "false")]),
            // By name: only a pinned certificate is matched with an address.
            Upstream::Verified => environment([("ZENZEFI_URL", &https.replace("127.0.0.1", "localhost"))]),
            Upstream::Pinned => {
                let pinned = folder.join("upstream.pem");
                fs::write(&pinned, self.standin.certificate_pem())?;
                environment([("ZENZEFI_URL", &https), ("ZENZEFI_CA_FILE", &pinned.to_string_lossy())])
            }
            Upstream::Plain => environment([("ZENZEFI_URL", &http)]),
        });
        edge.extend(self.plan.edge.clone());
        self.leave_out(&mut edge);
        Ok(edge)
    }

    fn leave_out(&self, environment: &mut Environment) {
        self.plan.left_out.iter().for_each(|name| drop(environment.remove(name)));
    }

    fn both(&self, public_origin: &str) -> Environment {
        environment([
            ("REDIS_URL", self.redis_url),
            ("PUBLIC_ORIGIN", public_origin),
            ("LOG_LEVEL", "debug"),
            ("LOG_FORMAT", "text"),
            ("RUST_BACKTRACE", "1"),
        ])
    }
}

/// Makes an administrator and logs them in.
async fn administrator(
    api: &ControlApi,
    database_url: &str,
    folder: &Folder,
    secret_key: &str,
) -> anyhow::Result<User> {
    let (email, password) = ("admin@example.com", format!("operator {}", Uuid::new_v4().simple()));
    api.secrets.remember("password", &password);
    let environment = environment([("DATABASE_URL", database_url), ("SECRET_KEY", secret_key)]);
    create_superuser(email, &password, folder.path(), &environment).await?;
    Ok(api.logs_in(email, &password).await)
}
