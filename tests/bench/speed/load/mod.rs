//! What proxies are loaded with: see [`closed`] for how much they can do, and [`open`] for how long
//! they take.

pub mod closed;
pub mod open;
pub mod wrk;

use std::time::Duration;

use anyhow::{Context, ensure};
use testbed::processes::process::Process;
use tokio::{process::Command, time::timeout};

/// By HTTP/2 every request names an agent, for h2load cannot leave that out; and so comes from
/// another device than all others.
pub const H2_AGENT: &str = "h2load";
/// For a program that loads for some seconds.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What every request carries.
#[derive(Clone, Debug)]
pub enum Carried {
    /// A token as an API client shows it, always the same.
    Token(String),
    /// The tokens `<salt>` and then a number of 32 digits from 1 to `count`, one after the other,
    /// as [`testbed::stack::Stack::seeds`] makes them.
    ByTurns { salt: String, count: usize },
    /// A token as a browser shows it.
    Cookie(String),
}

impl Carried {
    /// The name and the value of the header that the request of this turn carries.
    pub fn header(&self, turn: usize) -> (&'static str, String) {
        match self {
            Self::Token(text) => ("x-access-token", text.clone()),
            Self::ByTurns { salt, count } => ("x-access-token", format!("{salt}{:032}", turn % count + 1)),
            Self::Cookie(text) => ("cookie", format!("zenzefi_access_token={text}")),
        }
    }
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// HTTP/1.1 within TLS.
    Tls,
}

/// A proxy, and what it is asked.
#[derive(Clone)]
pub struct Way<'a> {
    pub name: &'static str,
    pub process: &'a Process,
    /// `host:port`
    pub address: String,
    pub path: &'static str,
    pub spoken: Spoken,
    pub carried: Carried,
    /// 0 for a `GET`.
    pub upload_bytes: usize,
    /// The status of every answer; any other is an error.
    pub status: u16,
}

impl<'a> Way<'a> {
    /// Small answers to plain requests that are let through.
    pub fn new(name: &'static str, process: &'a Process, address: String, carried: Carried) -> Self {
        Self { name, process, address, path: "/", spoken: Spoken::Http1, carried, upload_bytes: 0, status: 200 }
    }

    pub fn path(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    pub fn spoken(mut self, spoken: Spoken) -> Self {
        self.spoken = spoken;
        self
    }

    pub fn uploads(mut self, bytes: usize) -> Self {
        (self.path, self.upload_bytes) = ("/upload", bytes);
        self
    }

    pub fn refused_with(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn url(&self) -> String {
        let scheme = if self.spoken == Spoken::Tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address, self.path)
    }
}

/// What a program that loads has printed, once it has ended well.
async fn output(mut command: Command) -> anyhow::Result<String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = timeout(ENDS_WITHIN, command.kill_on_drop(true).output()).await;
    let output = output.with_context(|| format!("{program} does not end"))?;
    let output = output.with_context(|| format!("cannot run {program}: install what deploy/install-tools.sh names"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
