//! PROXY protocol v1/v2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): a trusted load balancer
//! announces the client's address before the first byte, and before TLS. Other peers must not send
//! it, and trusted proxies must.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    ErrorType, OrErr,
    apps::ServerApp,
    listeners::PreTlsProcess,
    protocols::{
        GetSocketDigest, Peek, SocketDigest, Stream,
        l4::{socket::SocketAddr as Peer, stream::Stream as Connection},
    },
    server::ShutdownWatch,
};
use prometheus::IntCounter;
use shared::net::address::TrustedProxies;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How long an introduction may take.
const INTRODUCED_WITHIN: Duration = Duration::from_secs(5);
/// How a record of TLS begins that holds a handshake, and how long its content may be.
const HANDSHAKE: u8 = 22;
const RECORD_BYTES: u16 = 16_384;
/// How a binary one begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How a textual one begins, and how long it may be.
const WORD: &[u8] = b"PROXY ";
const LINE_BYTES: usize = 107;
/// How much a binary one may hold: addresses, and what else proxies like to tell.
const TOLD_BYTES: u16 = 4_096;

/// Hears who a connection is from.
#[derive(Clone)]
pub struct ProxyProtocol {
    trusted: TrustedProxies,
}

impl ProxyProtocol {
    /// From these proxies; connections of others begin with their own bytes.
    pub fn by(trusted: TrustedProxies) -> Self {
        Self { trusted }
    }

    async fn hear(&self, connection: &mut Connection) -> io::Result<()> {
        let peer = connection.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().map(SocketAddr::ip));
        if !peer.is_some_and(|peer| self.trusted.contains(peer)) {
            return Ok(());
        }
        let source = tokio::time::timeout(INTRODUCED_WITHIN, read(connection)).await??;
        if let Some(source) = source {
            let digest = SocketDigest::from_raw_fd(connection.as_raw_fd());
            // A new one, whose cell nobody has filled yet.
            let _ = digest.peer_addr.set(Some(Peer::Inet(source)));
            connection.set_socket_digest(digest);
        }
        Ok(())
    }
}

/// What comes before TLS: who it is from, where that is said, and then a whole first record, that
/// of the client's hello. Pingora has a bound of its own on the handshake, of a minute and fixed:
/// what a client does after its hello has that alone.
pub struct HandshakeTimeout {
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How long the hello may take.
    pub within: Duration,
    /// How many hellos came.
    pub begun: IntCounter,
}

#[async_trait]
impl PreTlsProcess for HandshakeTimeout {
    async fn process(&self, connection: &mut Connection) -> pingora::Result<()> {
        if let Some(proxy_protocol) = &self.proxy_protocol {
            let heard = proxy_protocol.hear(connection).await;
            heard.or_err(ErrorType::AcceptError, "a proxy did not introduce a client")?;
        }
        let hello = tokio::time::timeout(self.within, await_record(connection)).await;
        let hello = hello.or_err(ErrorType::AcceptError, "a client said nothing in time")?;
        hello.or_err(ErrorType::AcceptError, "a client left before TLS")?;
        self.begun.inc();
        Ok(())
    }
}

/// Waits until the first record of TLS is there (RFC 8446 §5.1), and leaves it to be read; anything
/// else is left to the reader behind.
async fn await_record(connection: &mut Connection) -> io::Result<()> {
    let mut head = [0; 5];
    connection.try_peek(&mut head).await?;
    let [HANDSHAKE, _, _, high, low] = head else { return Ok(()) };
    let length = u16::from_be_bytes([high, low]).min(RECORD_BYTES);
    let mut record = vec![0; head.len() + usize::from(length)];
    connection.try_peek(&mut record).await.map(drop)
}

/// A server whose connections without TLS are introduced too; Pingora asks [`Introduction`] itself
/// only where TLS follows.
pub struct WithProxyProtocol<App> {
    app: Arc<App>,
    proxy_protocol: Option<ProxyProtocol>,
    /// How many connections came by TLS.
    established: IntCounter,
}

impl<App> WithProxyProtocol<App> {
    /// Where there is no introduction, every connection is its peer's.
    pub fn new(app: App, proxy_protocol: Option<ProxyProtocol>, established: IntCounter) -> Self {
        Self { app: Arc::new(app), proxy_protocol, established }
    }
}

#[async_trait]
impl<App: ServerApp + Send + Sync + 'static> ServerApp for WithProxyProtocol<App> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let is_plain = stream.get_ssl_digest().is_none();
        let stream = match self.proxy_protocol.as_ref().filter(|_| is_plain) {
            Some(proxy_protocol) => {
                let mut connection = stream.into_any().downcast::<Connection>().ok()?;
                if let Err(error) = proxy_protocol.hear(&mut connection).await {
                    tracing::debug!(%error, "a proxy did not introduce a client");
                    return None;
                }
                connection
            }
            None => stream,
        };
        if !is_plain {
            self.established.inc();
        }
        self.app.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}

/// Reads an introduction, and not a byte more; `None` where the connection is the proxy's own.
async fn read(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut begin = [0; SIGNATURE.len()];
    connection.read_exact(&mut begin).await?;
    if begin == SIGNATURE { read_binary(connection).await } else { read_line(begin.to_vec(), connection).await }
}

async fn read_line(mut line: Vec<u8>, connection: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    if !line.starts_with(WORD) {
        return Err(malformed());
    }
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_BYTES {
            return Err(malformed());
        }
        line.push(connection.read_u8().await?);
    }
    let line = str::from_utf8(&line[WORD.len()..line.len() - 2]).map_err(|_| malformed())?;
    let words: Vec<&str> = line.split(' ').collect();
    let (address, port): (IpAddr, u16) = match words[..] {
        ["UNKNOWN", ..] => return Ok(None),
        ["TCP4", source, _, port, _] => (parsed::<Ipv4Addr>(source)?.into(), parsed(port)?),
        ["TCP6", source, _, port, _] => (parsed::<Ipv6Addr>(source)?.into(), parsed(port)?),
        _ => return Err(malformed()),
    };
    Ok(Some(SocketAddr::new(address.to_canonical(), port)))
}

async fn read_binary(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let [command, family] = [connection.read_u8().await?, connection.read_u8().await?];
    let length = connection.read_u16().await?;
    if length > TOLD_BYTES {
        return Err(malformed());
    }
    let mut told = vec![0; length.into()];
    connection.read_exact(&mut told).await?;
    let port = |at: usize| told.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let source = match (command, family) {
        // Of the proxy's own accord, as to see whether anybody is there.
        (0x20, _) => return Ok(None),
        (0x21, 0x11) => told.first_chunk::<4>().zip(port(8)).map(|(source, port)| (IpAddr::from(*source), port)),
        (0x21, 0x21) => told.first_chunk::<16>().zip(port(32)).map(|(source, port)| (IpAddr::from(*source), port)),
        // Neither TCP over IPv4 nor over IPv6.
        (0x21, _) => return Ok(None),
        _ => None,
    };
    let (address, port) = source.ok_or_else(malformed)?;
    Ok(Some(SocketAddr::new(address.to_canonical(), port)))
}

fn parsed<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse().map_err(|_| malformed())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an introduction says, and what is left unread of `bytes`.
    async fn heard(bytes: &[u8]) -> io::Result<(Option<String>, Vec<u8>)> {
        let mut rest = bytes;
        let source = read(&mut rest).await?;
        Ok((source.map(|source| source.to_string()), rest.to_vec()))
    }

    fn binary(command: u8, family: u8, told: &[u8]) -> Vec<u8> {
        let length = u16::try_from(told.len()).expect("a short one").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, told, b"GET /"].concat()
    }

    #[tokio::test]
    async fn a_textual_introduction_names_the_client_and_not_a_byte_more_is_read() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.7 192.0.2.1 51000 443", Some("192.0.2.7:51000")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 51000 443", Some("[2001:db8::7]:51000")),
            ("PROXY UNKNOWN", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2", None),
        ] {
            let (heard, rest) = heard(format!("{line}\r\nGET /").as_bytes()).await.expect(line);
            assert_eq!((heard.as_deref(), rest.as_slice()), (source, &b"GET /"[..]), "{line}");
        }
    }

    #[tokio::test]
    async fn a_binary_introduction_names_the_client_and_what_else_it_tells_is_passed_over() {
        let v4 = [&[192, 0, 2, 7, 192, 0, 2, 1][..], &51_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat();
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 16], &51_000_u16.to_be_bytes(), &[1, 187]].concat();
        for (bytes, source) in [
            (binary(0x21, 0x11, &v4), Some("192.0.2.7:51000")),
            (binary(0x21, 0x11, &[&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat()), Some("192.0.2.7:51000")),
            (binary(0x21, 0x21, &v6), Some("[2001:db8::7]:51000")),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            let (heard, rest) = heard(&bytes).await.expect("an introduction");
            assert_eq!((heard.as_deref(), rest.as_slice()), (source, &b"GET /"[..]));
        }
    }

    #[tokio::test]
    async fn what_is_no_introduction_is_refused_and_not_guessed_at() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(LINE_BYTES));
        for bytes in [
            &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
            b"PROXY TCP4 2001:db8::7 192.0.2.1 51000 443\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 51000\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 443\r\n",
            b"PROXY TCP4 192.0.2.7",
            long.as_bytes(),
            &binary(0x21, 0x11, &[192, 0, 2, 7]),
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 5_000]),
        ] {
            assert!(heard(bytes).await.is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
