//! Pebble, Let's Encrypt's own ACME server for tests, which really fetches what it is promised;
//! every name is this machine to it.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use serde_json::json;

use crate::{
    clients::{
        http::{Ask, client},
        tls::Authority,
    },
    processes::{
        folder::Folder,
        process::{Launch, Process, free_port, ready},
    },
};

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// An authority that runs, unless it was stopped. It stops when it is dropped.
#[derive(Debug)]
pub struct Pebble {
    port: u16,
    folder: Folder,
    _names: Process,
    launch: Launch,
    authority: Process,
}

impl Pebble {
    /// Starts one that asks for challenges at this port, and whose certificates last so long.
    pub async fn start(http_port: u16, certificates_last_seconds: u64) -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        let [port, management, names_port, names_management] = [free_port()?, free_port()?, free_port()?, free_port()?];
        let own = Authority::create()?;
        let (certificate, key) = own.vouches_for("localhost")?;
        for (name, text) in [("ca.pem", own.pem()), ("cert.pem", certificate), ("key.pem", key)] {
            fs::write(folder.path().join(name), text)?;
        }
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": "cert.pem",
            "privateKey": "key.pem",
            "httpPort": http_port,
            "tlsPort": 1,
            "certificateValidityPeriod": certificates_last_seconds,
        }});
        fs::write(folder.path().join("config.json"), config.to_string())?;
        let names_at = format!("127.0.0.1:{names_port}");
        let management = format!("127.0.0.1:{names_management}");
        let names = Launch::new("names", "pebble-challtestsrv", folder.path())
            .args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", &management])
            .args(["-dns01", &names_at]);
        let names = names.spawn().context("install Debian's pebble package")?;
        let launch = Launch::new("pebble", "pebble", folder.path())
            .args(["-config", "config.json", "-dnsserver", &names_at])
            .env("PEBBLE_VA_NOSLEEP", "1");
        let authority = launch.spawn().context("install Debian's pebble package")?;
        let pebble = Self { port, folder, _names: names, launch, authority };
        pebble.ready().await?;
        Ok(pebble)
    }

    /// Ends it.
    pub async fn kill(&mut self) {
        self.authority.kill().await;
    }

    /// Starts it again where it was. It knows none of the accounts that it knew.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.authority.kill().await;
        self.authority = self.launch.spawn()?;
        self.ready().await
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let http = client().build()?;
        let is_ready = async || match http.get(self.directory()).try_answer().await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        };
        ready(&self.authority, STARTS_WITHIN, is_ready).await
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.authority.log()).expect("a log")
    }

    /// The URL at which a client begins.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// A PEM file of who vouches for the server itself.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}
