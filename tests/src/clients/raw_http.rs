//! HTTP/1.1 byte for byte, for what no client library would send or show: odd paths, repeated
//! headers, trailers.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub struct Wire(BufReader<TcpStream>);

/// An answer as it stood on the wire, headers and trailers in order.
#[derive(Clone, Debug, Default)]
pub struct WireAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl WireAnswer {
    /// The first header of that name, without regard to case; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Wire {
    /// Connects to an `http://host:port` origin.
    pub async fn connect(origin: &str) -> anyhow::Result<Self> {
        let authority = origin.strip_prefix("http://").context("not a plain HTTP origin")?;
        Ok(Self(BufReader::new(TcpStream::connect(authority).await?)))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        Ok(self.0.get_mut().write_all(bytes.as_ref()).await?)
    }

    /// Reads one answer to its end; the connection stays.
    pub async fn answer(&mut self) -> anyhow::Result<WireAnswer> {
        timeout(ANSWERS_WITHIN, self.read_answer()).await.context("no answer came")?
    }

    /// Whether the other side has closed the connection, once it has or `within` has passed.
    pub async fn closes(&mut self, within: Duration) -> bool {
        let mut rest = Vec::new();
        timeout(within, self.0.read_to_end(&mut rest)).await.is_ok()
    }

    async fn read_answer(&mut self) -> anyhow::Result<WireAnswer> {
        let status = self.line().await?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut answer =
            WireAnswer { status: code.with_context(|| format!("no status line: {status}"))?, ..Default::default() };
        answer.headers = self.headers().await?;
        if answer.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            loop {
                let size = self.line().await?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
                if size == 0 {
                    break;
                }
                self.body(&mut answer.body, size).await?;
                if !self.line().await?.is_empty() {
                    bail!("a chunk is longer than it says");
                }
            }
            answer.trailers = self.headers().await?;
        } else if let Ok(length) = answer.header("content-length").parse() {
            self.body(&mut answer.body, length).await?;
        } else if answer.header("connection").eq_ignore_ascii_case("close") {
            self.0.read_to_end(&mut answer.body).await?;
        }
        Ok(answer)
    }

    async fn headers(&mut self) -> anyhow::Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line.split_once(':').with_context(|| format!("no header: {line}"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\n") {
            bail!("the connection ended in the middle of an answer");
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn body(&mut self, body: &mut Vec<u8>, bytes: usize) -> anyhow::Result<()> {
        let start = body.len();
        body.resize(start + bytes, 0);
        self.0.read_exact(&mut body[start..]).await?;
        Ok(())
    }
}
