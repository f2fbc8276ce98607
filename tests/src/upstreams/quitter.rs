//! An upstream that takes every request and hangs up on it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A server that reads the head of a request and closes the connection. It stops when it is
/// dropped.
#[derive(Debug)]
pub struct Quitter {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    stopped: CancellationToken,
    tasks: TaskTracker,
}

impl Quitter {
    /// Starts one on a free port.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, requests) = (listener.local_addr()?, Arc::<AtomicUsize>::default());
        let (stopped, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (counter, connections, ending) = (Arc::clone(&requests), tasks.clone(), stopped.clone());
        let accepting = async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (counter, ending) = (Arc::clone(&counter), ending.clone());
                connections.spawn(async move { ending.run_until_cancelled(hang_up(stream, &counter)).await });
            }
        };
        let ending = stopped.clone();
        tasks.spawn(async move { ending.run_until_cancelled(accepting).await });
        Ok(Self { address, requests, stopped, tasks })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests it hung up on.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Quitter {
    fn drop(&mut self) {
        self.stopped.cancel();
        self.tasks.close();
    }
}

async fn hang_up(stream: TcpStream, requests: &AtomicUsize) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.is_empty() {
            requests.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}
