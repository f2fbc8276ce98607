//! Clients that hold what they have for as long as they are let: each does too little on a
//! connection of its own, until it is ended.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::people::Token;

/// Between two bytes.
const DRIPS_EVERY: Duration = Duration::from_millis(200);

/// What a slow client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// It says nothing.
    Silent,
    /// Byte by byte, a head without an end.
    Head,
    /// It stops within the bytes that HTTP/2 begins with.
    Preface,
    /// HTTP/2 without a request.
    NoRequest,
    /// It stops within a body.
    Body,
    /// Byte by byte, a long body.
    DrippingBody,
    /// It asks once and stays.
    Idle,
}

impl Slow {
    pub const ALL: [Self; 7] =
        [Self::Silent, Self::Head, Self::Preface, Self::NoRequest, Self::Body, Self::DrippingBody, Self::Idle];

    /// What it sends at once, and whether it goes on byte by byte.
    fn begins(self, host: &str, token: &Token) -> (Vec<u8>, bool) {
        let line = |start| format!("{start} HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\n", token.text);
        let body = || format!("{}Content-Length: 1000000\r\n\r\nhello", line("POST /upload")).into_bytes();
        match self {
            Self::Silent => (Vec::new(), false),
            Self::Head => (line("GET /status/200").into_bytes(), true),
            Self::Preface => (b"PRI * HTTP/2.0\r\n\r\nSM".to_vec(), false),
            Self::NoRequest => (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), false),
            Self::Body => (body(), false),
            Self::DrippingBody => (body(), true),
            Self::Idle => (format!("{}\r\n", line("GET /status/200")).into_bytes(), false),
        }
    }

    /// Does it until the connection ends: how long that took, and what it was answered.
    async fn run(self, host: &str, token: &Token) -> std::io::Result<(Duration, Vec<u8>)> {
        let mut tcp = TcpStream::connect(host).await?;
        let began = Instant::now();
        let (bytes, drips) = self.begins(host, token);
        let (mut read, mut write) = tcp.split();
        let mut answer = Vec::new();
        let sends = async {
            let mut sent = write.write_all(&bytes).await;
            while drips && sent.is_ok() {
                tokio::time::sleep(DRIPS_EVERY).await;
                sent = write.write_all(b"x").await;
            }
            // What cannot send any more still reads.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // However it ends.
            _ended = read.read_to_end(&mut answer) => {}
            () = sends => {}
        }
        Ok((began.elapsed(), answer))
    }
}

/// What became of one slow client.
#[derive(Clone, Debug)]
pub struct Ended {
    pub slow: Slow,
    pub after: Duration,
    /// The status that it was told; 0 for none.
    pub status: u16,
    /// All that it was told.
    pub told: String,
}

/// Starts `count` of them, of all kinds.
pub fn start(host: &str, token: &Token, count: usize) -> JoinSet<Option<Ended>> {
    let mut clients = JoinSet::new();
    for slow in Slow::ALL.into_iter().cycle().take(count) {
        let (host, token) = (host.to_owned(), token.clone());
        clients.spawn(async move {
            let (after, answer) = slow.run(&host, &token).await.ok()?;
            let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
            let status = status.and_then(|status| status.parse().ok()).unwrap_or_default();
            Some(Ended { slow, after, status, told: String::from_utf8_lossy(&answer).into_owned() })
        });
    }
    clients
}

/// Waits for all of them, no longer than `within`; an error with how many are left.
pub async fn all(mut clients: JoinSet<Option<Ended>>, within: Duration) -> Result<Vec<Ended>, usize> {
    let mut ended = Vec::new();
    let reading = async {
        while let Some(one) = clients.join_next().await {
            ended.extend(one.ok().flatten());
        }
    };
    match timeout(within, reading).await {
        Ok(()) => Ok(ended),
        Err(_) => Err(clients.len()),
    }
}
