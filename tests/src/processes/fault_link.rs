//! A piece of network between two programs that a test can hold up or cut, while both ends go on.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What becomes of bytes on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    Open,
    /// They wait; connections stay, as in a network that drops packets.
    Held,
    /// There are no connections, and new ones are closed at once.
    Cut,
}

/// A TCP relay to one address. It stops when it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    passage: Arc<watch::Sender<Passage>>,
    tasks: TaskTracker,
    stopped: CancellationToken,
}

impl Link {
    /// A link to `host:port`.
    pub async fn to(target: &str) -> anyhow::Result<Self> {
        let target = target.parse::<SocketAddr>().with_context(|| format!("no address: {target}"))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let link = Self {
            address: listener.local_addr()?,
            passage: Arc::new(watch::Sender::new(Passage::Open)),
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
        };
        let (passage, tasks, stopped) = (link.passage.clone(), link.tasks.clone(), link.stopped.clone());
        let accepting = async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                let (passage, stopped) = (passage.subscribe(), stopped.clone());
                tasks.spawn(async move { stopped.run_until_cancelled(relay(near, target, passage)).await });
            }
        };
        let stopped = link.stopped.clone();
        link.tasks.spawn(async move { stopped.run_until_cancelled(accepting).await });
        Ok(link)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds back every byte in both directions.
    pub fn hold(&self) {
        self.passage.send_replace(Passage::Held);
    }

    /// Closes every connection and takes no new one.
    pub fn cut(&self) {
        self.passage.send_replace(Passage::Cut);
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.passage.send_replace(Passage::Open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}

async fn relay(near: TcpStream, target: SocketAddr, passage: watch::Receiver<Passage>) {
    let mut cut = passage.clone();
    let through = async move {
        let Ok(far) = TcpStream::connect(target).await else { return };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = carry(near_in, far_out, passage.clone()) => {}
            () = carry(far_in, near_out, passage) => {}
        }
    };
    tokio::select! {
        () = through => {}
        _ = cut.wait_for(|passage| *passage == Passage::Cut) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut passage: watch::Receiver<Passage>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let opened = passage.wait_for(|passage| *passage == Passage::Open).await.is_ok();
        if !opened || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::servers::redis::Redis;

    #[tokio::test]
    async fn a_link_holds_back_and_cuts_and_lets_through_again() {
        let redis = Redis::start_temporary().await.expect("a server");
        let link = Link::to(&redis.address()).await.expect("a link");
        let ping = async || {
            let mut stream = TcpStream::connect(link.address()).await.expect("a connection");
            stream.write_all(b"PING\r\n").await.ok()?;
            let mut answer = [0; 7];
            tokio::time::timeout(Duration::from_millis(300), stream.read_exact(&mut answer)).await.ok()?.ok()?;
            Some(answer)
        };
        assert_eq!(ping().await.as_ref(), Some(b"+PONG\r\n"));
        link.hold();
        assert_eq!(ping().await, None);
        link.cut();
        assert_eq!(ping().await, None);
        link.mend();
        assert_eq!(ping().await.as_ref(), Some(b"+PONG\r\n"));
    }
}
