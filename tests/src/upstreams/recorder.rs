//! An upstream that notes what it receives byte for byte: no HTTP library between the wire and its
//! notes.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::ReadHalf},
    task::JoinSet,
};

/// A request as it was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The request line and the header lines, without the ends of the lines.
    pub lines: Vec<Vec<u8>>,
    /// Without its chunks' sizes.
    pub body: Vec<u8>,
    /// Whether the body has come to its end.
    pub is_whole: bool,
}

impl Received {
    /// What was asked for.
    pub fn target(&self) -> &[u8] {
        self.lines.first().and_then(|line| line.split(|&byte| byte == b' ').nth(1)).unwrap_or_default()
    }

    /// The values of the headers of that name, without regard to case, as they came.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let fields = self.lines.iter().skip(1).map(|line| line.split_at(name.len().min(line.len())));
        let named = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        let values = named.filter_map(|(_, rest)| rest.strip_prefix(b":"));
        values.map(|value| value.strip_prefix(b" ").unwrap_or(value)).collect()
    }
}

/// Answers every request with an empty `200`, and notes it.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    _listener: JoinSet<()>,
}

impl Recorder {
    /// Starts one on a free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let noted = received.clone();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((connection, _)) = listener.accept().await else { continue };
                connections.spawn(serve(connection, noted.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, received, _listener: accepting })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was received since this was called last.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(mut connection: TcpStream, received: Arc<Mutex<Vec<Received>>>) -> io::Result<()> {
    let (read, mut write) = connection.split();
    let mut read = BufReader::new(read);
    loop {
        let mut request = Received { lines: head(&mut read).await?, ..Received::default() };
        if request.lines.is_empty() {
            return Ok(());
        }
        request.is_whole = body(&mut read, &mut request).await.is_ok();
        let is_whole = request.is_whole;
        received.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        if !is_whole {
            return Ok(());
        }
        write.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    }
}

async fn line(read: &mut BufReader<ReadHalf<'_>>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    read.read_until(b'\n', &mut line).await?;
    Ok(line)
}

/// The lines of a head; none where the connection has ended.
async fn head(read: &mut BufReader<ReadHalf<'_>>) -> io::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    loop {
        let line = line(read).await?;
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
        if text.is_empty() {
            return Ok(lines);
        }
        lines.push(text.to_vec());
    }
}

async fn body(read: &mut BufReader<ReadHalf<'_>>, request: &mut Received) -> io::Result<()> {
    let number = |digits: &[u8], radix| {
        let number = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, radix).ok());
        number.ok_or(io::ErrorKind::InvalidData)
    };
    if request.values("transfer-encoding").is_empty() {
        let length = request.values("content-length").first().map_or(Ok(0), |length| number(length, 10))?;
        return take(read, length, &mut request.body).await;
    }
    loop {
        match number(line(read).await?.trim_ascii(), 16)? {
            0 => return head(read).await.map(drop),
            size => take(read, size, &mut request.body).await?,
        }
        line(read).await?;
    }
}

async fn take(read: &mut BufReader<ReadHalf<'_>>, bytes: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let taken = read.take(bytes).read_to_end(body).await?;
    if taken as u64 == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
