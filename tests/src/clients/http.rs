//! HTTP as a client of the gateway speaks it: requests, and answers read whole.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use reqwest::{ClientBuilder, RequestBuilder, redirect, tls::TlsInfo};
use rustls::crypto::ring;
use serde_json::Value;

/// Longer than anything that a test waits for in one answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// A client that follows no redirect, keeps no cookie, takes a self-signed certificate and ignores
/// the machine's proxies.
pub fn client() -> ClientBuilder {
    // The provider is the process' own choice; the first call chose the same one.
    let _ = ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .timeout(ANSWERS_WITHIN)
}

/// The certificate that a new connection of this client for `host` is shown at an address; `None`
/// where there is no connection.
pub async fn shown_certificate(listen: SocketAddr, host: &str, builder: ClientBuilder) -> Option<Vec<u8>> {
    let http = builder.tls_info(true).resolve(host, listen).build().expect("a client");
    let answer = http.get(format!("https://{host}:{}/health", listen.port())).send().await.ok()?;
    Some(answer.extensions().get::<TlsInfo>()?.peer_certificate()?.to_vec())
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `detail` of a problem document; checks that it is one, and about this status.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "no `{member}` in {problem}");
        }
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks the status and returns the body as JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{} {:?}", self.text(), self.headers);
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

/// Sends a request and reads its answer whole.
pub trait Ask {
    /// The answer; a panic where none comes, which is never what a client may see.
    fn answer(self) -> impl Future<Output = Answer> + Send;

    /// The answer, or what the client library makes of there being none.
    fn try_answer(self) -> impl Future<Output = reqwest::Result<Answer>> + Send;
}

impl Ask for RequestBuilder {
    async fn answer(self) -> Answer {
        match self.try_answer().await {
            Ok(answer) => answer,
            Err(error) => panic!("no answer: {error:?}"),
        }
    }

    async fn try_answer(self) -> reqwest::Result<Answer> {
        let answer = self.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.bytes().await? })
    }
}
