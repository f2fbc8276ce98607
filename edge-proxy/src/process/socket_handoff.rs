//! Handing the listening sockets to another process of this program on the same machine, so that an
//! upgrade refuses nobody.
//!
//! Who serves waits at a Unix socket. A new process asks there for the listening sockets, gets
//! ready, and says so; only then does the old one stop to accept, and drains. Both hold the same
//! sockets, so whatever waits to be accepted is accepted by the process that lives: a new process
//! that dies before it is ready changes nothing.

use std::{
    fs,
    io::{self, ErrorKind, IoSlice, IoSliceMut, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::{fs::PermissionsExt, net::UnixStream as BlockingStream},
    },
    path::Path,
    time::Duration,
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use tokio::{
    io::{AsyncReadExt, Interest},
    net::{UnixListener, UnixStream},
};

/// How long the sockets may take to come.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(10);
/// How long a new process may take to get ready.
const SUCCEEDS_WITHIN: Duration = Duration::from_secs(60);
/// More listeners than any configuration has.
const MOST_SOCKETS: usize = 8;
const MOST_BYTES: usize = 4_096;
/// What a new process says once it serves.
const READY: u8 = b'!';

/// Listening sockets, each with the address that it was bound by.
pub type Sockets = Vec<(String, RawFd)>;

/// The process that has served so far, and waits to be relieved.
pub struct Predecessor(BlockingStream);

/// Asks the process that waits at `path` for its sockets; `None` if none does.
pub fn find(path: &Path) -> io::Result<Option<(Predecessor, Sockets)>> {
    let stream = match BlockingStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(HANDED_OVER_WITHIN))?;
    let sockets = receive(&stream)?;
    Ok(Some((Predecessor(stream), sockets)))
}

impl Predecessor {
    /// Tells it that it is relieved. If it is gone there is nobody to tell.
    pub fn relieve(mut self) {
        if let Err(error) = self.0.write_all(&[READY]) {
            tracing::warn!(%error, "the process that served before is gone");
        }
    }
}

fn receive(stream: &BlockingStream) -> io::Result<Sockets> {
    let mut names = [0; MOST_BYTES];
    let mut buffers = [IoSliceMut::new(&mut names)];
    let mut space = nix::cmsg_space!([RawFd; MOST_SOCKETS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut buffers, Some(&mut space), flags)?;
    let mut sockets = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            sockets.extend(received);
        }
    }
    let length = message.bytes;
    let names: Vec<String> = serde_json::from_slice(&names[..length])?;
    if names.len() != sockets.len() {
        return Err(io::Error::new(ErrorKind::InvalidData, "as many sockets as names were expected"));
    }
    Ok(names.into_iter().zip(sockets).collect())
}

/// Waits at `path` until another process has these sockets and is ready; what fails is logged, and
/// waited on.
pub async fn relieved(path: &Path, sockets: impl Fn() -> Sockets) {
    let listener = match wait_at(path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "UPGRADE_SOCKET cannot be listened on: no other process can take over");
            return std::future::pending().await;
        }
    };
    loop {
        let handed_over = async {
            let (stream, _) = listener.accept().await?;
            hand_over(stream, &sockets()).await
        };
        match handed_over.await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "another process asked for the sockets and did not take over"),
        }
    }
}

/// The process that was here before is gone, or was relieved. Nobody but the account of this
/// process can connect.
fn wait_at(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn hand_over(mut stream: UnixStream, sockets: &Sockets) -> io::Result<()> {
    let asks = stream.peer_cred()?.uid();
    if asks != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it runs under another account"));
    }
    let (names, sockets): (Vec<&str>, Vec<RawFd>) = sockets.iter().map(|(name, fd)| (name.as_str(), *fd)).unzip();
    let names = serde_json::to_vec(&names)?;
    let (buffers, rights) = ([IoSlice::new(&names)], [ControlMessage::ScmRights(&sockets)]);
    let send = || Ok(sendmsg::<()>(stream.as_raw_fd(), &buffers, &rights, MsgFlags::empty(), None)?);
    stream.async_io(Interest::WRITABLE, send).await?;
    let mut said = [0];
    tokio::time::timeout(SUCCEEDS_WITHIN, stream.read_exact(&mut said)).await??;
    match said {
        [READY] => Ok(()),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "it does not say that it is ready")),
    }
}
