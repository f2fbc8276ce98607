//! The addresses of one server: which of them takes the next request, and which are left out
//! because they fail.
//!
//! An address is left out while the last look at it found nobody, and for a while once it failed
//! several requests in a row. Where that leaves none, all are tried: an attempt may succeed, a
//! refusal cannot.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::{Method, header};
use pingora::{connectors::http::v1::Connector, http::RequestHeader, upstreams::peer::HttpPeer};

use crate::{
    config::Balance,
    origin::Origin,
    sync::{Mutex, MutexGuard},
    telemetry::metrics::Metrics,
    upstream::server::{ConnectionKind, Upstream},
};

/// How requests are shared out, and when an address is left out.
#[derive(Clone, Debug)]
pub struct Settings {
    pub balance: Balance,
    /// How many requests in a row an address may fail.
    pub failures: u32,
    /// How long it is left out then.
    pub out_for: Duration,
    /// How often each address is looked at; one that has not answered by the next look is not
    /// there.
    pub look_every: Duration,
    /// The path that is asked for then, which must be answered below `500`; only a connection is
    /// opened where there is none.
    pub look_at: Option<String>,
}

/// The addresses of one server.
pub struct Pool {
    all: Vec<Arc<Address>>,
    /// Whose turn it is.
    turn: AtomicUsize,
    rules: Arc<Settings>,
    timeout: Duration,
}

struct Address {
    upstream: Upstream,
    /// Requests that it has now.
    open: AtomicUsize,
    standing: Mutex<Health>,
    rules: Arc<Settings>,
    metrics: Arc<Metrics>,
}

/// What is known of an address: pure.
#[derive(Clone, Copy, Debug)]
struct Health {
    /// Whether the last look found it.
    is_found: bool,
    /// Requests that it failed since it last answered one.
    failures: u32,
    out_until: Option<Instant>,
}

impl Health {
    const GOOD: Self = Self { is_found: true, failures: 0, out_until: None };

    fn is_in_use(&self, now: Instant) -> bool {
        self.is_found && self.out_until.is_none_or(|until| until <= now)
    }

    /// Notes a failure. What was left out before and fails at once is left out again at once.
    fn failed(&mut self, now: Instant, rules: &Settings) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= rules.failures {
            self.out_until = Some(now + rules.out_for);
        }
    }

    fn answered(&mut self) {
        *self = Self { is_found: self.is_found, ..Self::GOOD };
    }
}

/// The addresses that one request was sent to: the one that it is at, and all that it has tried.
#[derive(Default)]
pub struct UpstreamAttempt {
    at: Option<InFlight>,
    tried: Vec<usize>,
}

/// A request's stay at an address, which counts it as long as it lasts.
struct InFlight(Arc<Address>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UpstreamAttempt {
    /// The origin of the address that the request is at.
    pub fn origin(&self) -> Option<&Origin> {
        self.at.as_ref().map(|visit| &visit.0.upstream.origin)
    }

    /// The address has answered, whatever the status: that is the application's own affair.
    pub fn answered(&self) {
        if let Some(InFlight(address)) = &self.at {
            address.change(Health::answered);
        }
    }

    /// The address could not be reached, broke off before its answer, or was silent for too long.
    pub fn failed(&self) {
        if let Some(InFlight(address)) = &self.at {
            address.change(|standing| standing.failed(Instant::now(), &address.rules));
        }
    }
}

impl Pool {
    /// At least one server, spoken to as `upstreams` say, silent for `timeout` at most.
    pub fn new(upstreams: Vec<Upstream>, rules: Settings, timeout: Duration, metrics: &Arc<Metrics>) -> Self {
        let rules = Arc::new(rules);
        let address = |upstream| {
            Arc::new(Address {
                upstream,
                open: AtomicUsize::new(0),
                standing: Mutex::new(Health::GOOD),
                rules: Arc::clone(&rules),
                metrics: Arc::clone(metrics),
            })
        };
        let all = upstreams.into_iter().map(address).collect();
        Self { all, turn: AtomicUsize::new(0), rules, timeout }
    }

    /// How long the server may stay silent before it has answered.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many addresses are in use.
    pub fn in_use(&self) -> usize {
        let now = Instant::now();
        self.all.iter().filter(|address| address.lock().is_in_use(now)).count()
    }

    /// Whether there is an address that this request was not sent to.
    pub fn has_untried(&self, attempt: &UpstreamAttempt) -> bool {
        attempt.tried.len() < self.all.len()
    }

    /// Takes a request to the next address, one that it has not tried if there is one. Those whose
    /// name is not found are passed over.
    pub async fn peer(&self, attempt: &mut UpstreamAttempt, purpose: ConnectionKind) -> io::Result<HttpPeer> {
        loop {
            let index = self.choose(&attempt.tried, Instant::now());
            if !attempt.tried.contains(&index) {
                attempt.tried.push(index);
            }
            let address = &self.all[index];
            address.open.fetch_add(1, Ordering::Relaxed);
            attempt.at = Some(InFlight(Arc::clone(address)));
            match address.upstream.peer(purpose).await {
                Err(error) => {
                    attempt.failed();
                    if !self.has_untried(attempt) {
                        return Err(error);
                    }
                }
                found => return found,
            }
        }
    }

    /// Whose turn it is: of those that were not tried, of those in use, of those with the fewest
    /// requests where that counts, the next.
    fn choose(&self, tried: &[usize], now: Instant) -> usize {
        let count = self.all.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..count).map(|offset| turn.wrapping_add(offset) % count);
        let rank = |index: &usize| {
            let address = &self.all[*index];
            let open = match self.rules.balance {
                Balance::LeastConnections => address.open.load(Ordering::Relaxed),
                Balance::RoundRobin => 0,
            };
            (tried.contains(index), !address.lock().is_in_use(now), open)
        };
        in_turn.min_by_key(rank).expect("there is at least one address")
    }

    /// Looks at every address, again and again.
    pub async fn watch(&self, connector: &Connector) {
        loop {
            join_all(self.all.iter().map(|address| self.look(address, connector))).await;
            tokio::time::sleep(self.rules.look_every).await;
        }
    }

    async fn look(&self, address: &Address, connector: &Connector) {
        let looking = async {
            match &self.rules.look_at {
                Some(path) => answers(&address.upstream, connector, path).await.unwrap_or(false),
                None => address.upstream.takes_connections().await,
            }
        };
        let is_found = tokio::time::timeout(self.rules.look_every, looking).await.unwrap_or(false);
        address.change(|standing| standing.is_found = is_found);
    }
}

impl Address {
    /// Changes what is known of it, and says so where that takes it out of use or back.
    fn change(&self, change: impl FnOnce(&mut Health)) {
        let now = Instant::now();
        let (before, after) = {
            let mut standing = self.lock();
            let before = *standing;
            change(&mut standing);
            (before, *standing)
        };
        let is_in_use = after.is_in_use(now);
        if before.is_in_use(now) != is_in_use {
            if !is_in_use {
                self.metrics.upstream_ejections.inc();
            }
            let (upstream, failures) = (&self.upstream.origin, after.failures);
            tracing::warn!(%upstream, is_in_use, is_found = after.is_found, failures, "an upstream's address changed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.standing.lock()
    }
}

/// Whether the server answers a request for `path` below `500`.
async fn answers(upstream: &Upstream, connector: &Connector, path: &str) -> pingora::Result<bool> {
    let Ok(peer) = upstream.peer(ConnectionKind::Exchange).await else { return Ok(false) };
    let (mut session, _) = connector.get_http_session(&peer).await?;
    let mut head = RequestHeader::build(Method::GET, path.as_bytes(), Some(2))?;
    head.insert_header(header::HOST, upstream.origin.authority())?;
    head.insert_header(header::CONNECTION, "close")?;
    session.write_request_header(Box::new(head)).await?;
    session.read_response().await?;
    Ok(session.resp_header().is_some_and(|head| !head.status.is_server_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::server::UpstreamTls;

    const OUT_FOR: Duration = Duration::from_secs(10);

    fn rules(balance: Balance) -> Settings {
        Settings { balance, failures: 3, out_for: OUT_FOR, look_every: OUT_FOR, look_at: None }
    }

    fn addresses(count: u16, balance: Balance) -> Pool {
        let terms = UpstreamTls { verify: true, authorities: None, client: None, timeout: OUT_FOR };
        let origin = |port| format!("http://127.0.0.1:{}", 8000 + port).parse().expect("an origin");
        let upstreams = (0..count).map(|port| Upstream::new(origin(port), terms.clone())).collect();
        Pool::new(upstreams, rules(balance), OUT_FOR, &Arc::default())
    }

    fn chosen(addresses: &Pool, times: usize) -> Vec<usize> {
        (0..times).map(|_| addresses.choose(&[], Instant::now())).collect()
    }

    #[test]
    fn addresses_take_turns() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            assert_eq!(chosen(&addresses(3, balance), 6), [0, 1, 2, 0, 1, 2]);
        }
    }

    #[tokio::test]
    async fn the_one_with_the_fewest_requests_comes_first_until_they_end() {
        let addresses = addresses(2, Balance::LeastConnections);
        let mut attempts = [const { UpstreamAttempt { at: None, tried: Vec::new() } }; 3];
        for attempt in &mut attempts {
            addresses.peer(attempt, ConnectionKind::Requests).await.expect("an address");
        }
        // Two at the first, one at the second.
        assert_eq!(chosen(&addresses, 3), [1, 1, 1]);
        drop(attempts);
        assert_eq!(chosen(&addresses, 2), [0, 1]);
    }

    #[test]
    fn failures_in_a_row_eject_an_address_and_one_more_after_its_return_does_at_once() {
        let (mut standing, start) = (Health::GOOD, Instant::now());
        let rules = rules(Balance::RoundRobin);
        let fails = |standing: &mut Health, now| standing.failed(now, &rules);
        fails(&mut standing, start);
        fails(&mut standing, start);
        standing.answered();
        fails(&mut standing, start);
        fails(&mut standing, start);
        assert!(standing.is_in_use(start));
        fails(&mut standing, start);
        assert!(!standing.is_in_use(start) && !standing.is_in_use(start + OUT_FOR - Duration::from_millis(1)));
        assert!(standing.is_in_use(start + OUT_FOR));
        fails(&mut standing, start + OUT_FOR);
        assert!(!standing.is_in_use(start + OUT_FOR));
        standing.answered();
        assert!(standing.is_in_use(start + OUT_FOR));
    }

    #[tokio::test]
    async fn a_request_goes_to_each_address_once_those_in_use_first() {
        let addresses = addresses(3, Balance::RoundRobin);
        addresses.all[0].change(|standing| standing.is_found = false);
        assert_eq!(addresses.in_use(), 2);
        assert!(!chosen(&addresses, 6).contains(&0));
        let mut attempt = UpstreamAttempt::default();
        for _ in 0..3 {
            assert!(addresses.has_untried(&attempt));
            addresses.peer(&mut attempt, ConnectionKind::Requests).await.expect("an address");
        }
        assert_eq!(attempt.tried.last(), Some(&0));
        assert!(!addresses.has_untried(&attempt));
    }

    #[test]
    fn where_none_is_in_use_all_are_tried() {
        let addresses = addresses(2, Balance::RoundRobin);
        addresses.all.iter().for_each(|address| address.change(|standing| standing.is_found = false));
        assert_eq!((addresses.in_use(), chosen(&addresses, 2)), (0, vec![0, 1]));
    }
}
