//! The stand-in as a process of its own, for when it and the load need more open files together than one process may have.

use std::time::Duration;

use testbed::{
    folder::Folder,
    process::{Launch, Process, built_program, on_free_ports, ready},
};
use tokio::net::TcpStream;

const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A running one. It ends when it is dropped.
pub struct Standin {
    address: String,
    _process: Process,
    _folder: Folder,
}

impl Standin {
    pub async fn start() -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        let (process, address) = on_free_ports(async |ports| {
            let [https, http] = ports.map(|port| format!("127.0.0.1:{port}"));
            let launch = Launch::new("standin", built_program("testbed")?, folder.path());
            let process = launch.args(["standin", "--https", &https, "--http", &http]).spawn()?;
            let listens = async || TcpStream::connect(&http).await.map(drop).map_err(|error| error.to_string());
            ready(&process, STARTS_WITHIN, listens).await?;
            Ok((process, http))
        })
        .await?;
        Ok(Self { address, _process: process, _folder: folder })
    }

    /// Its `host:port` for plain HTTP.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its origin for plain HTTP.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
