//! An upstream behind a network that swallows every attempt to connect.

use std::time::Duration;

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

/// The kernel takes a connection at once while there is room in the queue.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);

/// A server that answers no attempt to connect: its queue is full, and nobody takes from it.
#[derive(Debug)]
pub struct Silent {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Silent {
    /// Starts one on a free port, and fills its queue.
    pub async fn start() -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut queued = Vec::new();
        while let Ok(connected) = timeout(TAKEN_WITHIN, TcpStream::connect(address)).await {
            queued.push(connected?);
        }
        Ok(Self { listener, _queued: queued })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("it is bound"))
    }
}
