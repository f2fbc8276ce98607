//! Debian's nginx, started privately: as the upstream that costs next to nothing, and as the rival.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use testbed::{
    folder::Folder,
    process::{Launch, Process, on_free_ports, ready},
};
use tokio::net::TcpStream;

const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// Debian puts it where only root's `PATH` looks.
const PROGRAM: &str = "/usr/sbin/nginx";

/// A server of one process, with what it serves or keeps in a folder of its own.
pub struct Nginx {
    port: u16,
    process: Process,
    folder: Folder,
}

impl Nginx {
    /// Serves nothing yet: see [`Self::serves`].
    pub async fn of_pages() -> anyhow::Result<Self> {
        Self::start(Folder::temporary()?, "location / { root .; try_files $uri.html =404; }").await
    }

    /// Serves this page at `/<name>`.
    pub fn serves(&self, name: &str, page: &[u8]) -> anyhow::Result<()> {
        Ok(fs::write(self.folder.path().join(format!("{name}.html")), page)?)
    }

    /// Passes on what the upstream answers, every `named` replaced by what stands at its place in `shown`: below `/plain/` with the buffers that it has by itself,
    /// below `/large/` with ones of 64 KiB, and below `/streamed/` with one of those and no more.
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
        let http = format!("upstream upstream {{ server 127.0.0.1:{}; keepalive 16; }}", upstream.port);
        Self::start_with(Folder::temporary()?, &http, &server).await
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

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    async fn start(folder: Folder, server: &str) -> anyhow::Result<Self> {
        Self::start_with(folder, "", server).await
    }

    async fn start_with(folder: Folder, http: &str, server: &str) -> anyhow::Result<Self> {
        let (process, port) = on_free_ports(async |[port]| {
            fs::write(folder.path().join("nginx.conf"), configuration(port, http, server))?;
            Ok((spawn(folder.path(), port).await?, port))
        })
        .await?;
        Ok(Self { port, process, folder })
    }
}

fn configuration(port: u16, http: &str, server: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path tmp;\n"));
    format!(
        "daemon off; master_process off; pid nginx.pid;
         events {{ worker_connections 32768; }}
         http {{
             {}default_type text/html; access_log off; sendfile on; keepalive_requests 1000000;
             {http}
             server {{ listen 127.0.0.1:{port}; listen [::1]:{port}; {server} }}
         }}\n",
        temporary.concat()
    )
}

async fn spawn(folder: &Path, port: u16) -> anyhow::Result<Process> {
    let program = if Path::new(PROGRAM).is_file() { PROGRAM } else { "nginx" };
    let launch = Launch::new("nginx", program, folder).args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder);
    let process = launch.spawn().context("install Debian's nginx package")?;
    let listens = async || TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| error.to_string());
    ready(&process, STARTS_WITHIN, listens).await?;
    Ok(process)
}
