//! The sockets that this process listens on: taken over from the one that served before, handed to
//! the next, and closed when this one is told to stop, while what is open goes on.

use std::{
    io,
    os::fd::RawFd,
    path::Path,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use pingora::{
    apps::ServerApp,
    server::{ListenFds, ShutdownWatch},
    services::{Service, listening},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    edge::Edge,
    process::{
        readiness,
        socket_handoff::{self, Predecessor, Sockets},
    },
    sync::Mutex,
};

/// The listening sockets of this process.
pub struct Listeners {
    /// Pingora's own account of them, by the address that each is bound to.
    table: OnceLock<ListenFds>,
    inherited: Mutex<Option<(Predecessor, Sockets)>>,
    /// Cancelled once no process is there to be relieved.
    serves_alone: CancellationToken,
    closing: watch::Sender<bool>,
    closing_ops: watch::Sender<bool>,
}

impl Listeners {
    /// With the sockets of the process that waits at `upgrade_socket`, if one does.
    pub fn find(upgrade_socket: Option<&Path>) -> io::Result<Self> {
        let inherited = upgrade_socket.map(socket_handoff::find).transpose()?.flatten();
        let serves_alone = CancellationToken::new();
        if inherited.is_none() {
            serves_alone.cancel();
        }
        Ok(Self {
            table: OnceLock::new(),
            inherited: Mutex::new(inherited),
            serves_alone,
            closing: watch::Sender::new(false),
            closing_ops: watch::Sender::new(false),
        })
    }

    /// Whether this address is listened on already, by the process that served before.
    pub fn inherits(&self, address: &str) -> bool {
        let inherited = self.inherited.lock();
        inherited.as_ref().is_some_and(|(_, sockets)| sockets.iter().any(|(name, _)| name == address))
    }

    pub fn is_successor(&self) -> bool {
        !self.serves_alone.is_cancelled()
    }

    fn adopt(&self, table: ListenFds) {
        let inherited = self.inherited.lock();
        if let (Ok(()), Some((_, sockets))) = (self.table.set(Arc::clone(&table)), inherited.as_ref()) {
            let mut table = table.lock();
            for (address, socket) in sockets {
                table.add(address.clone(), *socket);
            }
        }
    }

    /// Tells the process that served before that this one does now.
    fn relieve(&self) {
        let inherited = self.inherited.lock().take();
        if let Some((predecessor, _)) = inherited {
            predecessor.relieve();
        }
        self.serves_alone.cancel();
    }

    /// Waits until another process, that asked at `upgrade_socket`, has taken over.
    pub async fn relieved(&self, upgrade_socket: &Path) {
        self.serves_alone.cancelled().await;
        socket_handoff::relieved(upgrade_socket, || {
            let table = self.table.get().map(|table| table.lock().serialize());
            let (addresses, sockets): (Vec<String>, Vec<RawFd>) = table.unwrap_or_default();
            addresses.into_iter().zip(sockets).collect()
        })
        .await;
    }

    /// Accepts no client from now on.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Accepts no operator either: another process answers them.
    pub fn close_ops(&self) {
        self.closing_ops.send_replace(true);
    }
}

/// A service whose listeners close before the process ends.
pub struct Listening<App> {
    service: listening::Service<App>,
    edge: Arc<Edge>,
    listeners: Arc<Listeners>,
    closing: watch::Receiver<bool>,
    /// Whether it is for clients: then the process that served before is relieved once this one is
    /// ready for them.
    is_public: bool,
}

impl<App> Listening<App> {
    /// For clients.
    pub fn public(service: listening::Service<App>, edge: Arc<Edge>, listeners: Arc<Listeners>) -> Self {
        let closing = listeners.closing.subscribe();
        Self { service, edge, listeners, closing, is_public: true }
    }

    /// For operators.
    pub fn ops(service: listening::Service<App>, edge: Arc<Edge>, listeners: Arc<Listeners>) -> Self {
        let closing = listeners.closing_ops.subscribe();
        Self { service, edge, listeners, closing, is_public: false }
    }
}

#[async_trait]
impl<App: ServerApp + Send + Sync + 'static> Service for Listening<App> {
    async fn start_service(&mut self, fds: Option<ListenFds>, _shutdown: ShutdownWatch, listeners_per_fd: usize) {
        let table = fds.expect("Pingora gives its table of sockets to every service");
        let listeners = &self.listeners;
        listeners.adopt(Arc::clone(&table));
        if self.is_public && listeners.is_successor() {
            readiness::wait(&self.edge).await;
            listeners.relieve();
        }
        Service::start_service(&mut self.service, Some(table), self.closing.clone(), listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        Service::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        Service::threads(&self.service)
    }
}
