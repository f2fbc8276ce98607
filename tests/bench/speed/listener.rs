//! A server as a process of its own, in a folder of its own, on an address of this machine's that
//! is its own.

use std::{path::Path, time::Duration};

use testbed::processes::{
    folder::Folder,
    process::{Launch, Process, built_program, on_free_ports, ready},
};
use tokio::net::TcpStream;

const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A running one. It ends when it is dropped.
pub struct Listener {
    process: Process,
    address: String,
    folder: Folder,
}

impl Listener {
    /// Starts what is launched, in this folder, to listen on the `host:port` that is named.
    pub async fn start(folder: Folder, launch: impl Fn(&Path, &str) -> anyhow::Result<Launch>) -> anyhow::Result<Self> {
        let (process, address) = on_free_ports(async |[port]| {
            let address = format!("127.0.0.1:{port}");
            let process = launch(folder.path(), &address)?.spawn()?;
            let listens = async || TcpStream::connect(&address).await.map(drop).map_err(|error| error.to_string());
            ready(&process, STARTS_WITHIN, listens).await?;
            Ok((process, address))
        })
        .await?;
        Ok(Self { process, address, folder })
    }

    /// A Pingora that does the least that a proxy does, before the server at that `host:port`.
    pub async fn bare_pingora(upstream: &str) -> anyhow::Result<Self> {
        let program = built_program("testbed")?.with_file_name("examples").join("bare");
        let launch = |folder: &Path, address: &str| Ok(Launch::new("bare", &program, folder).args([address, upstream]));
        Self::start(Folder::temporary()?, launch).await
    }

    /// The stand-in, by plain HTTP: for when it and the load need more open files together than one
    /// process may have.
    pub async fn standin() -> anyhow::Result<Self> {
        let program = built_program("testbed")?;
        let launch = |folder: &Path, address: &str| {
            // Nobody asks it by HTTPS.
            let arguments = ["standin", "--https", "127.0.0.1:0", "--http", address];
            Ok(Launch::new("standin", &program, folder).args(arguments))
        };
        Self::start(Folder::temporary()?, launch).await
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its origin.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it works in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
