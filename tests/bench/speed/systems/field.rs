//! All that is measured side by side, each with one thread on the first processor, and what is
//! behind it.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use testbed::{
    clients::{http::client, load::Load},
    people::{Token, User},
    processes::{
        folder::Folder,
        process::{Launch, free_port},
        programs::Plane,
    },
    servers::redis::Redis,
    stack::Stack,
};
use tokio::time::sleep;

use crate::bench::speed::{
    cores::give_first,
    listener::Listener,
    load::{Carried, H2_AGENT, Spoken, Way},
    nginx::{Asks, LARGE_BYTES, Nginx},
    rewriting::page::{page, spellings},
};

pub const BARE: &str = "bare Pingora";
pub const EDGE: &str = "edge, token cached";
pub const EDGE_ASKING: &str = "edge, token looked up";
pub const NGINX: &str = "nginx";
pub const NGINX_CACHING: &str = "nginx + Lua, token cached 1 s";
pub const NGINX_ASKING: &str = "nginx + Lua, token looked up";

/// For the control plane to hear of a hundred thousand tokens that they were used.
const USES_TOLD_WITHIN: Duration = Duration::from_secs(300);
/// For an edge that looks every token up: so few fit into its memory that the next one was always
/// forgotten.
const FEW_ENTRIES: &str = "500";
/// How many tokens [`Redis::command`] is given at once.
const AT_ONCE: usize = 500;
const PAGE_BYTES: usize = 8_000;
const OCCURRENCES: usize = 8;

/// See the module.
pub struct Field {
    stack: Stack,
    token: Token,
    /// Of a device of its own.
    h2_token: Token,
    by_turns: Carried,
    bare: Listener,
    haproxy: Listener,
    nginx: Nginx,
    logging_nginx: Nginx,
    caching_nginx: Nginx,
    asking_nginx: Nginx,
    asking_edge: Plane,
    logging_edge: Plane,
    tls_edge: Plane,
    tls_address: String,
    _upstream: Nginx,
    _redis: Redis,
    _pair: Folder,
}

impl Field {
    /// Starts everything, with this number of tokens that work and were used before.
    pub async fn start(tokens: usize) -> anyhow::Result<Self> {
        let upstream = Nginx::of_answers().await?;
        let named = format!("http://{}", upstream.address());
        upstream.serves("pages/small", &page(&spellings(&named)[..1], PAGE_BYTES, OCCURRENCES))?;
        let mut stack = Stack::plan()
            .control_env("LOG_LEVEL", "info")
            .edge_env("ZENZEFI_URL", &named)
            .edge_env("EDGE_THREADS", "1")
            .edge_env("LOG_LEVEL", "warn")
            .start()
            .await;
        stack.settle().await;
        let alice = stack.control.user("alice").await;
        let tokens = use_once(&stack, &alice, tokens).await?;
        let h2_token = stack.seeds(&alice, 1).await?.pop().context("a token")?;
        let token = tokens[0].clone();
        let salt = token.text.get(..32).context("a token has 64 characters")?.to_owned();
        let by_turns = Carried::ByTurns { salt, count: tokens.len() };
        // What it remembers of all those is none of a fresh edge's.
        stack.edge_planes[0].start_again().await?;

        let redis = Redis::start_temporary().await?;
        for some in tokens.chunks(AT_ONCE) {
            let keys: Vec<String> = some.iter().map(|token| Nginx::digest_key(&token.text)).collect();
            let words: Vec<&str> = ["MSET"].into_iter().chain(keys.iter().flat_map(|key| [key, "1"])).collect();
            redis.command(&words).await?;
        }
        let (pair, tls_address) = (Folder::temporary()?, format!("127.0.0.1:{}", free_port()?));
        let [certificate, key] = certificate(pair.path())?;
        let secure_origin = format!("https://{tls_address}");
        let tls = [
            ("EDGE_TLS_LISTEN", tls_address.as_str()),
            ("EDGE_TLS_CERT_FILE", &certificate),
            ("EDGE_TLS_KEY_FILE", &key),
        ];
        let field = Self {
            bare: Listener::bare_pingora(upstream.address()).await?,
            haproxy: haproxy(&upstream).await?,
            nginx: Nginx::passing(&upstream, false).await?,
            logging_nginx: Nginx::passing(&upstream, true).await?,
            caching_nginx: Nginx::asking(&upstream, &redis, Asks::OnceInASecond).await?,
            asking_nginx: Nginx::asking(&upstream, &redis, Asks::Always).await?,
            asking_edge: edge(&stack, "asking", None, &[("GRANT_CACHE_ENTRIES", FEW_ENTRIES)]).await?,
            logging_edge: edge(&stack, "logging", None, &[("LOG_LEVEL", "info")]).await?,
            tls_edge: edge(&stack, "tls", Some(&secure_origin), &tls).await?,
            stack,
            token,
            h2_token,
            by_turns,
            tls_address,
            _upstream: upstream,
            _redis: redis,
            _pair: pair,
        };
        for way in field.all().iter().chain(&field.of_sizes()) {
            give_first(way.process)?;
            works(way).await?;
        }
        Ok(field)
    }

    /// Those whose ratios have goals; neighbours are compared.
    pub fn guarded(&self) -> Vec<Way<'_>> {
        vec![
            self.listener(BARE, &self.bare),
            self.edge(EDGE, self.always()),
            self.plane(EDGE_ASKING, &self.asking_edge, self.by_turns.clone()),
            Way { carried: self.by_turns.clone(), ..self.nginx_way(NGINX_ASKING, &self.asking_nginx) },
        ]
    }

    /// Every way to a small answer.
    pub fn all(&self) -> Vec<Way<'_>> {
        let stranger = Carried::Token(Token::stranger().text);
        let browser = Carried::Cookie(self.token.text.clone());
        let mut ways = self.guarded();
        ways.insert(2, self.nginx_way(NGINX_CACHING, &self.caching_nginx));
        ways.extend([
            self.nginx_way(NGINX, &self.nginx),
            self.nginx_way("nginx, access log on", &self.logging_nginx),
            self.listener("HAProxy", &self.haproxy),
            self.plane("edge, access lines on", &self.logging_edge, self.always()),
            self.edge("edge, token refused", stranger).refused_with(401),
            self.edge("edge, a page of 8 KB rewritten", browser).path("/pages/small"),
            self.edge("edge, HTTP/2", Carried::Token(self.h2_token.text.clone())).spoken(Spoken::Http2),
            Way { address: self.tls_address.clone(), ..self.plane("edge, TLS", &self.tls_edge, self.always()) }
                .spoken(Spoken::Tls),
        ]);
        ways
    }

    /// Large answers and uploads.
    pub fn of_sizes(&self) -> Vec<Way<'_>> {
        let bare = |name| self.listener(name, &self.bare);
        let (edge, nginx) = (|name| self.edge(name, self.always()), |name| self.nginx_way(name, &self.nginx));
        vec![
            bare("bare Pingora, 100 KB answered").path("/large"),
            edge("edge, 100 KB answered").path("/large"),
            nginx("nginx, 100 KB answered").path("/large"),
            bare("bare Pingora, 100 KB uploaded").uploads(LARGE_BYTES),
            edge("edge, 100 KB uploaded").uploads(LARGE_BYTES),
            nginx("nginx, 100 KB uploaded").uploads(LARGE_BYTES),
        ]
    }

    /// Ends it; a panic where an edge has done what it must not.
    pub async fn finish(self) {
        self.stack.finish().await;
    }

    fn always(&self) -> Carried {
        Carried::Token(self.token.text.clone())
    }

    fn edge(&self, name: &'static str, carried: Carried) -> Way<'_> {
        self.plane(name, &self.stack.edge_planes[0], carried)
    }

    fn plane<'a>(&self, name: &'static str, plane: &'a Plane, carried: Carried) -> Way<'a> {
        Way::new(name, plane.process(), plane.url().trim_start_matches("http://").to_owned(), carried)
    }

    fn nginx_way<'a>(&self, name: &'static str, nginx: &'a Nginx) -> Way<'a> {
        Way::new(name, nginx.process(), nginx.address().to_owned(), self.always())
    }

    fn listener<'a>(&self, name: &'static str, listener: &'a Listener) -> Way<'a> {
        Way::new(name, listener.process(), listener.address().to_owned(), self.always())
    }
}

/// Makes tokens and uses each of them once; returns when both planes have dealt with that.
async fn use_once(stack: &Stack, user: &User, count: usize) -> anyhow::Result<Arc<[Token]>> {
    let tokens: Arc<[Token]> = stack.seeds(user, count).await?.into();
    let load = Load::start(&stack.edges, &tokens, count, 16);
    load.calms(count).await?;
    load.stop().await;
    let unused = "SELECT count(*) FROM access_tokens WHERE activated_at IS NULL";
    let deadline = Instant::now() + USES_TOLD_WITHIN;
    while stack.control.database.query(unused).await? != "0" {
        ensure!(Instant::now() < deadline, "the uses of {count} tokens are not all told after {USES_TOLD_WITHIN:?}");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(tokens)
}

/// One more edge as the stack's first is, but for these variables. It calls itself by its own
/// address, and by another if one is named.
async fn edge(stack: &Stack, name: &str, origin: Option<&str>, variables: &[(&str, &str)]) -> anyhow::Result<Plane> {
    let mut plane = stack.edge_planes[0].replica(&format!("edge-proxy-{name}"), stack.folder()).await?;
    let origins: Vec<&str> = [plane.url()].into_iter().chain(origin).collect();
    let origins = origins.join(",");
    plane.configure("PUBLIC_ORIGIN", &origins);
    variables.iter().for_each(|(variable, value)| plane.configure(variable, value));
    plane.start_again().await?;
    Ok(plane)
}

/// Writes a certificate that vouches for itself, and its key, into a folder.
fn certificate(folder: &Path) -> anyhow::Result<[String; 2]> {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let files = [("certificate.pem", certified.cert.pem()), ("key.pem", certified.signing_key.serialize_pem())];
    let written = files.map(|(name, pem)| {
        let path = folder.join(name);
        fs::write(&path, pem).map(|()| path.to_string_lossy().into_owned())
    });
    let [certificate, key] = written;
    Ok([certificate?, key?])
}

async fn haproxy(upstream: &Nginx) -> anyhow::Result<Listener> {
    let configuration = |address: &str| {
        format!(
            "global
                nbthread 1
                maxconn 1000
            defaults
                mode http
                timeout connect 5s
                timeout client 60s
                timeout server 60s
                http-reuse always
            frontend all
                bind {address}
                default_backend upstream
            backend upstream
                server upstream {}\n",
            upstream.address()
        )
    };
    Listener::start(Folder::temporary()?, |folder, address| {
        fs::write(folder.join("haproxy.cfg"), configuration(address))?;
        // Debian puts it where only root's `PATH` looks.
        Ok(Launch::new("haproxy", "/usr/sbin/haproxy", folder).args(["-db", "-f", "haproxy.cfg"]))
    })
    .await
}

/// Checks that a way leads where it should.
async fn works(way: &Way<'_>) -> anyhow::Result<()> {
    let (name, value) = way.carried.header(0);
    let http = client().http1_only().danger_accept_invalid_certs(true).build()?;
    let method = if way.upload_bytes > 0 { http::Method::POST } else { http::Method::GET };
    let mut request = http.request(method, way.url()).header(name, value).body(vec![b'x'; way.upload_bytes]);
    if way.spoken == Spoken::Http2 {
        request = request.header("user-agent", H2_AGENT);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    ensure!(status == way.status, "{} answers {status}: {}", way.name, answer.text().await?);
    Ok(())
}
