//! What a stack is made of, and how its programs find each other.

use std::{fs, path::Path, sync::Arc};

use uuid::Uuid;

use super::{
    issuer::Issuer,
    running::{Control, EdgeStack, Stack},
};
use crate::{
    clients::http::client,
    people::{ControlApi, Edge, User},
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

impl Stack {
    /// A stack of one edge.
    pub async fn start() -> Self {
        Plan::default().start().await
    }

    pub fn plan() -> Plan {
        Plan::default()
    }
}

impl EdgeStack {
    /// One edge, with an issuer in place of a control plane.
    pub async fn start_edges() -> Self {
        Plan::default().start_edges().await
    }
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

    /// Starts all of it.
    pub async fn start(self) -> Stack {
        started(Box::pin(self.start_whole()).await)
    }

    /// Starts the edges, with an issuer in place of the control plane and of Postgres.
    pub async fn start_edges(self) -> EdgeStack {
        started(Box::pin(self.start_edges_alone()).await)
    }

    /// The two ports of the control plane, and the two of each edge.
    fn assign<'a>(&self, ports: &'a [u16; PORTS]) -> ([u16; 2], &'a [[u16; 2]]) {
        let (pairs, _) = ports.as_chunks::<2>();
        (pairs[0], &pairs[1..=self.edges])
    }

    async fn start_whole(self) -> anyhow::Result<Stack> {
        let (database, servers) = tokio::try_join!(Database::create(), Servers::start(self.has_link))?;
        let secret_key = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        servers.secrets.remember("SECRET_KEY", &secret_key);
        let wiring = Wiring { plan: &self, servers: &servers };
        let start = async |ports: [u16; PORTS]| {
            let ([first, second], edges) = self.assign(&ports);
            let environment = wiring.control(&public_origins(edges), database.url(), &secret_key);
            let logs = servers.folder.path();
            let plane = Plane::start(Program::ControlApi, "control-api", logs, [first, second], &environment).await?;
            let edges = wiring.start_edges(edges, Some(plane.url())).await?;
            Ok((plane, edges))
        };
        let (plane, edge_planes) = on_free_ports(start).await?;
        let api = ControlApi::at(plane.url(), &servers.secrets);
        let admin = Arc::new(administrator(&api, database.url(), &servers.folder, &secret_key).await?);
        servers.with(Control { plane, api, admin, database }, edge_planes)
    }

    async fn start_edges_alone(self) -> anyhow::Result<EdgeStack> {
        let servers = Servers::start(self.has_link).await?;
        let issuer = Issuer::start(&servers.redis).await?;
        let wiring = Wiring { plan: &self, servers: &servers };
        let start = async |ports: [u16; PORTS]| wiring.start_edges(self.assign(&ports).1, None).await;
        let edge_planes = on_free_ports(start).await?;
        servers.with(issuer, edge_planes)
    }
}

fn started<S>(stack: anyhow::Result<S>) -> S {
    stack.unwrap_or_else(|error| panic!("the stack does not start: {error:?}"))
}

/// What every stack runs on.
struct Servers {
    folder: Folder,
    redis: Redis,
    standin: Standin,
    link: Option<Link>,
    secrets: Secrets,
}

impl Servers {
    async fn start(has_link: bool) -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        let (redis, standin) = tokio::try_join!(Redis::start_temporary(), Standin::start_on_free_ports())?;
        let link = match has_link {
            true => Some(Link::to(&redis.address()).await?),
            false => None,
        };
        Ok(Self { folder, redis, standin, link, secrets: Secrets::default() })
    }

    fn with<C>(self, control: C, edge_planes: Vec<Plane>) -> anyhow::Result<Stack<C>> {
        let Self { folder, redis, standin, link, secrets } = self;
        let http = client().build()?;
        let edges = edge_planes.iter().map(|plane| Edge { url: plane.url().to_owned(), http: http.clone() }).collect();
        Ok(Stack { control, edges, edge_planes, standin, redis, link, secrets, announced: Vec::new(), folder })
    }
}

/// The origins of the edges on these ports.
fn public_origins(edges: &[[u16; 2]]) -> String {
    let names = |port: u16| [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")];
    edges.iter().flat_map(|ports| names(ports[0])).collect::<Vec<_>>().join(",")
}

/// The options by which the programs of a stack find each other and their servers.
struct Wiring<'a> {
    plan: &'a Plan,
    servers: &'a Servers,
}

impl Wiring<'_> {
    /// Starts an edge on each two of these ports.
    async fn start_edges(&self, ports: &[[u16; 2]], control_url: Option<&str>) -> anyhow::Result<Vec<Plane>> {
        let logs = self.servers.folder.path();
        let environment = self.edge(&public_origins(ports), control_url, logs)?;
        let mut edges = Vec::new();
        for (number, ports) in ports.iter().enumerate() {
            let name = format!("edge-proxy-{number}");
            let mut environment = environment.clone();
            if let (0, Some(link)) = (number, &self.servers.link) {
                environment.insert("REDIS_URL".to_owned(), format!("redis://{}", link.address()));
            }
            edges.push(Plane::start(Program::EdgeProxy, &name, logs, *ports, &environment).await?);
        }
        Ok(edges)
    }

    fn control(&self, public_origin: &str, database_url: &str, secret_key: &str) -> Environment {
        let mut control = self.both(public_origin);
        control.extend(environment([
            ("DATABASE_URL", database_url),
            ("DATABASE_MAX_CONNECTIONS", "8"),
            ("SECRET_KEY", secret_key),
            ("LOGIN_FAILURES_PER_HOUR", "0"),
            ("REGISTRATIONS_PER_HOUR", "0"),
            ("USER_REQUESTS_PER_MINUTE", "0"),
        ]));
        control.extend(self.plan.control.clone());
        self.leave_out(&mut control);
        control
    }

    fn edge(&self, public_origin: &str, control_url: Option<&str>, folder: &Path) -> anyhow::Result<Environment> {
        let mut edge = self.both(public_origin);
        if let Some(url) = control_url {
            edge.extend(environment([("CONTROL_API_URL", url), ("CONSOLE_URL", &format!("{url}/console"))]));
        }
        edge.extend(environment([
            ("EDGE_THREADS", "2"),
            ("DRAIN_SECONDS", "2"),
            ("UNKNOWN_TOKENS_PER_MINUTE", "0"),
            ("TOKEN_REQUESTS_PER_MINUTE", "0"),
            ("TOKEN_OPEN_REQUESTS", "0"),
            ("TOKEN_OPEN_WEBSOCKETS", "0"),
        ]));
        let (https, http) = (self.servers.standin.url(), self.servers.standin.http_url());
        edge.extend(match self.plan.upstream {
            Upstream::Unverified => environment([("ZENZEFI_URL", &https), ("ZENZEFI_TLS_VERIFY", "false")]),
            // By name: only a pinned certificate is matched with an address.
            Upstream::Verified => environment([("ZENZEFI_URL", &https.replace("127.0.0.1", "localhost"))]),
            Upstream::Pinned => {
                let pinned = folder.join("upstream.pem");
                fs::write(&pinned, self.servers.standin.certificate_pem())?;
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
            ("REDIS_URL", &self.servers.redis.url()),
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
    let environment = environment([("DATABASE_URL", database_url), ("SECRET_KEY", secret_key)]);
    create_superuser(email, &password, folder.path(), &environment).await?;
    Ok(api.logs_in(email, &password).await)
}
