//! The gate in front of HTTP: it sees the bytes of a connection before Pingora does. A request's
//! head is held back until it is whole and has been checked, and so is whatever comes after a
//! request until its turn; a client that takes too long over a head is told so. So nothing is
//! parsed that could be read in two ways, and no byte of one request is taken for another's.
//!
//! HTTP/2 passes: its frames are checked by the library that reads them, and only its opening is
//! timed.

mod framing;
pub mod head;
mod settings;
mod stream;
mod turn;

use std::{io::Cursor, mem, sync::Arc};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, ServerApp},
    protocols::{Stream, http::ServerSession},
    proxy::Session,
    server::ShutdownWatch,
};

pub use settings::{HeadTimeouts, Settings};
pub use stream::Raw;
use stream::ValidatingStream;
use turn::RequestTurn;

tokio::task_local! {
    static TURN: Arc<RequestTurn>;
}

/// Lets the next HTTP/1 request of the connection that this task serves through the gate. Without a
/// gate it does nothing.
pub fn begin_request() {
    // Ignored where no gate stands.
    let _ = TURN.try_with(|turn| turn.begin());
}

/// Takes the connection of an HTTP/1 request out from under Pingora, once it carries HTTP no more:
/// the session is left with one on which nothing comes and nothing goes. `None` where no gate
/// stands; then the session is of no use either.
pub fn take_over(session: &mut Session) -> Option<Raw> {
    let nothing = ServerSession::new_http1(Box::new(Cursor::new(Vec::new())));
    match mem::replace(session.as_downstream_mut(), nothing) {
        ServerSession::H1(taken) => Some(taken.into_inner().into_any().downcast::<ValidatingStream>().ok()?.into_raw()),
        _ => None,
    }
}

/// An app behind a gate.
pub struct StrictHttp1<App> {
    app: Arc<App>,
    rules: Arc<Settings>,
}

impl<App> StrictHttp1<App> {
    pub fn new(app: App, rules: Settings) -> Self {
        Self { app: Arc::new(app), rules: Arc::new(rules) }
    }
}

#[async_trait]
impl<App: HttpServerApp + Send + Sync + 'static> ServerApp for StrictHttp1<App> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let turn = Arc::<RequestTurn>::default();
        let gate = ValidatingStream::new(stream, Arc::clone(&turn), Arc::clone(&self.rules));
        TURN.scope(turn, self.app.process_new(Box::new(gate), shutdown)).await
    }

    async fn cleanup(&self) {
        self.app.http_cleanup().await;
    }
}
