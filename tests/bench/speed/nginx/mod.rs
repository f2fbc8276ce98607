//! Debian's nginx, started privately with one process: as the upstream that costs next to nothing,
//! and as the rival.

use std::{fs, path::Path};

use shared::token::credential::Digest;
use testbed::{
    processes::{
        folder::Folder,
        process::{Launch, Process},
    },
    servers::redis::Redis,
};

use super::listener::Listener;

/// Debian puts it where only root's `PATH` looks.
const PROGRAM: &str = "/usr/sbin/nginx";
/// Where Debian puts what nginx loads.
const MODULES: &str = "/usr/lib/nginx/modules";
/// What the larger answers and uploads have.
pub const LARGE_BYTES: usize = 100_000;
const GATE: &str = include_str!("gate.lua");
/// Passes everything on to the servers named `upstream`, over connections that are kept.
const PASSES: &str = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_pass http://upstream;
    client_max_body_size 0; proxy_request_buffering off;";

/// What an nginx asks before it passes a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Redis, for each request.
    Always,
    /// Redis, or what it answered in the second before.
    OnceInASecond,
}

/// A server of one process, with what it serves or keeps in its folder.
pub struct Nginx(Listener);

impl Nginx {
    /// Serves nothing yet: see [`Self::serves`].
    pub async fn of_pages() -> anyhow::Result<Self> {
        Self::start(Folder::temporary()?, "location / { root .; try_files $uri.html =404; }").await
    }

    /// What the proxies are measured before: 14 bytes at any path, [`LARGE_BYTES`] at `/large`,
    /// whole bodies taken at `/upload`, and pages at `/pages/<name>` (see [`Self::serves`]).
    pub async fn of_answers() -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        fs::create_dir(folder.path().join("pages"))?;
        fs::write(folder.path().join("large"), vec![b'x'; LARGE_BYTES])?;
        let takes = "ngx.req.read_body() ngx.print('taken')";
        let server = format!(
            "root .;
             location / {{ default_type application/octet-stream; return 200 'fourteen bytes'; }}
             location = /large {{ default_type application/octet-stream; }}
             location = /upload {{ client_max_body_size 0; client_body_buffer_size 1m; content_by_lua_block {{ {takes} }} }}
             location /pages/ {{ try_files $uri.html =404; }}"
        );
        Self::start_with(folder, &modules(), "", &server).await
    }

    /// Passes everything on as it came.
    pub async fn passing(upstream: &Self, is_logging: bool) -> anyhow::Result<Self> {
        let log = if is_logging { "access_log access.log;" } else { "" };
        let server = format!("{log} location / {{ {PASSES} }}");
        Self::start_with(Folder::temporary()?, "", &upstream.named(), &server).await
    }

    /// Passes on what comes with a token that Redis knows: see [`Self::digest_key`].
    pub async fn asking(upstream: &Self, redis: &Redis, asks: Asks) -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        fs::write(folder.path().join("gate.lua"), GATE)?;
        let http = format!(
            "lua_package_path '{}/?.lua;/usr/share/lua/5.1/?.lua;;'; lua_shared_dict answers 32m; {}",
            folder.path().display(),
            upstream.named()
        );
        let is_known = match asks {
            Asks::Always => "is_known",
            Asks::OnceInASecond => "is_known_of_late",
        };
        let gate = format!("local gate = require 'gate' return gate.refuse_unless(gate.{is_known}, {})", redis.port());
        let server = format!("location / {{ access_by_lua_block {{ {gate} }} {PASSES} }}");
        Self::start_with(folder, &modules(), &http, &server).await
    }

    /// The key by which Redis knows a token for [`Self::asking`].
    pub fn digest_key(token: &str) -> String {
        format!("token:{}", Digest::of(token.as_bytes()))
    }

    /// Serves this page at `/<name>`.
    pub fn serves(&self, name: &str, page: &[u8]) -> anyhow::Result<()> {
        Ok(fs::write(self.0.folder().join(format!("{name}.html")), page)?)
    }

    /// Passes on what the upstream answers, every `named` replaced by what stands at its place in
    /// `shown`: below `/plain/` with the buffers that it has by itself, below `/large/` with ones
    /// of 64 KiB, and below `/streamed/` with one of those and no more.
    pub async fn rewriting(upstream: &Self, named: &[String], shown: &[String]) -> anyhow::Result<Self> {
        let location =
            |path: &str, buffers: &str| format!("location /{path}/ {{ {buffers} proxy_pass http://upstream/; }}\n");
        let large = "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;";
        let filters: String =
            named.iter().zip(shown).map(|(named, shown)| format!("sub_filter '{named}' '{shown}';\n")).collect();
        let server = format!(
            "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_max_temp_file_size 0;
             {filters} sub_filter_once off;
             {}{}{}",
            location("plain", ""),
            location("large", large),
            location("streamed", &format!("{large} proxy_buffering off;"))
        );
        Self::start_with(Folder::temporary()?, "", &upstream.named(), &server).await
    }

    /// Passes WebSockets on to that origin.
    pub async fn tunnelling(upstream: &str) -> anyhow::Result<Self> {
        let server = format!(
            "location / {{
                 proxy_pass {upstream}; proxy_http_version 1.1; proxy_read_timeout 1h;
                 proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
             }}"
        );
        Self::start(Folder::temporary()?, &server).await
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> &str {
        self.0.address()
    }

    /// Its origin by the machine's name.
    pub fn url(&self) -> String {
        self.0.url().replace("127.0.0.1", "localhost")
    }

    pub fn process(&self) -> &Process {
        self.0.process()
    }

    async fn start(folder: Folder, server: &str) -> anyhow::Result<Self> {
        Self::start_with(folder, "", "", server).await
    }

    async fn start_with(folder: Folder, main: &str, http: &str, server: &str) -> anyhow::Result<Self> {
        let program = if Path::new(PROGRAM).is_file() { PROGRAM } else { "nginx" };
        let launch = |folder: &Path, address: &str| {
            fs::write(folder.join("nginx.conf"), configuration(address, main, http, server))?;
            Ok(Launch::new("nginx", program, folder).args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder))
        };
        Ok(Self(Listener::start(folder, launch).await?))
    }

    /// Its name for another nginx.
    fn named(&self) -> String {
        format!("upstream upstream {{ server {}; keepalive 256; }}", self.address())
    }
}

/// Loads Lua, and what that stands on.
fn modules() -> String {
    ["ndk_http_module", "ngx_http_lua_module"].map(|name| format!("load_module {MODULES}/{name}.so;\n")).concat()
}

fn configuration(address: &str, main: &str, http: &str, server: &str) -> String {
    let by_ipv6 = address.replace("127.0.0.1", "[::1]");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path tmp;\n"));
    format!(
        "{main}daemon off; master_process off; pid nginx.pid;
         events {{ worker_connections 32768; }}
         http {{
             {}default_type text/html; access_log off; sendfile on; keepalive_requests 100000000;
             {http}
             server {{ listen {address}; listen {by_ipv6}; {server} }}
         }}\n",
        temporary.concat()
    )
}
