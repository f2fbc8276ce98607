//! The edge's questions to Redis. Each has a bounded wait; none is asked twice on its own.

use std::{net::IpAddr, sync::Arc, time::Duration};

use fred::{
    bytes_utils::Str,
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface, KeysInterface, LuaInterface, StreamsInterface},
    types::{
        Builder, Expiration, FromValue, InfoKind, SetOptions, Value,
        config::{Config, Options, PerformanceConfig, ReconnectPolicy, Server, TcpConfig},
        scripts::Script,
    },
};
use shared::{
    net::address::Whereabouts,
    process::trace::{self, Span},
    rate::Spent,
    redis as contract,
    redis::{
        Limited,
        events::Usage,
        feed::{Pulse, StreamId},
        replies::{Activation, Finding, Lookup, Malformed, TakeOver},
    },
    token::{
        credential::{Digest, Handover},
        device::Device,
        scope::Scope,
    },
};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};
use uuid::Uuid;

use crate::{
    assertion::PublicKey,
    grants::{
        live::LiveGrant,
        release::{AdmissionOutcome, LeaseFate},
    },
    sync::Mutex,
};

/// How long one question may take before Redis counts as down.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// A connection that leaves a question unanswered for so long is replaced.
const SILENT_FOR: Duration = Duration::from_secs(5);
const PINGED_EVERY: Duration = Duration::from_secs(1);
/// How long a read of the feed blocks where nothing changes; an empty answer counts as heard.
pub const FEED_BLOCKS_FOR: Duration = Duration::from_secs(1);
/// How many changes one read of the feed brings.
const FEED_BATCH: u64 = 1_000;
/// The one `maxmemory-policy` under which nothing is lost.
const KEEPS_ALL: &str = "noeviction";
/// What [`contract::ADMIT`] takes for "any path".
const ANY_SCOPE: &str = "*";

/// How much one script tells: a command costs more than what it does for one event, yet while one runs nobody else is answered.
const TOLD_AT_ONCE: usize = 50;

/// How often the networks of a token that change meanwhile are read again.
const NETWORKS_READ: usize = 4;

/// An entry of a stream: its id, then names and values in turn.
type Entry = (String, Vec<String>);

/// What one read of the feed brought.
#[derive(Debug, Default)]
pub struct Changes {
    /// The id of the newest entry, from which to read on; `None` if there was none.
    pub last_id: Option<StreamId>,
    /// Which tokens changed, and by which entry that was told.
    pub of: Vec<(Uuid, StreamId)>,
}

/// A request that asks to be admitted.
pub struct Taking<'a> {
    pub device: &'a Device,
    /// The scopes that open its path.
    pub scopes: &'a [Scope],
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The session's id, should this be its first request.
    pub session_id: Uuid,
    /// Names the claim, should the token be ready.
    pub claim: Uuid,
}

/// The connections that were made one after the other.
#[derive(Debug)]
struct Connections {
    made: u64,
    /// Told of each before anything is asked by it.
    told: Receiver<Server>,
}

impl Connections {
    /// How many there were until now.
    fn count(&mut self) -> u64 {
        loop {
            match self.told.try_recv() {
                Ok(_) => self.made += 1,
                Err(TryRecvError::Lagged(missed)) => self.made += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return self.made,
            }
        }
    }
}

/// What a script is given.
struct Said {
    keys: Vec<String>,
    arguments: Vec<Value>,
}

/// A text that is always the same, as an argument: it is not copied.
fn fixed(text: &'static str) -> Value {
    Value::from_static_str(text)
}

/// A connection to Redis and the contract's scripts.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    connections: Arc<Mutex<Connections>>,
    find: Script,
    admit: Script,
    settle: Script,
    activate: Script,
    release: Script,
    take_over: Script,
    pulse: Script,
    spend: Script,
    publish_keys: Script,
    tell: Script,
    end_acme_turn: Script,
    lease_ms: u64,
    /// Every device has a lease of its own.
    shares_tokens: bool,
}

impl Redis {
    /// Starts a connection for questions, one that comes back by itself. It returns at once, connected or not: while Redis is
    /// down every question fails, at once or within its bound.
    pub fn start(url: &str, lease: Duration, shares_tokens: bool) -> Result<Self, Error> {
        Self::start_with(url, ANSWER_WITHIN, lease, shares_tokens)
    }

    /// Starts a connection for the feed, whose reads block.
    pub fn start_feed(url: &str, lease: Duration, shares_tokens: bool) -> Result<Self, Error> {
        Self::start_with(url, ANSWER_WITHIN + FEED_BLOCKS_FOR, lease, shares_tokens)
    }

    fn start_with(url: &str, answer_within: Duration, lease: Duration, shares_tokens: bool) -> Result<Self, Error> {
        let config = Config { fail_fast: false, ..Config::from_url(url)? };
        let client = Builder::from_config(config)
            .set_performance_config(PerformanceConfig {
                default_command_timeout: answer_within,
                ..PerformanceConfig::default()
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = ANSWER_WITHIN;
                connection.internal_command_timeout = ANSWER_WITHIN;
                connection.max_command_attempts = 1;
                // A question does not wait for the answer to the one before.
                connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            })
            .set_policy(ReconnectPolicy::new_constant(0, 200))
            .build()?;
        let connections = Connections { made: 0, told: client.reconnect_rx() };
        client.connect();
        Ok(Self {
            client,
            connections: Arc::new(Mutex::new(connections)),
            find: Script::from_lua(contract::FIND),
            admit: Script::from_lua(contract::ADMIT),
            settle: Script::from_lua(contract::SETTLE),
            activate: Script::from_lua(contract::ACTIVATE),
            release: Script::from_lua(contract::RELEASE),
            take_over: Script::from_lua(contract::TAKE_OVER),
            pulse: Script::from_lua(contract::PULSE),
            spend: Script::from_lua(contract::SPEND),
            publish_keys: Script::from_lua(contract::PUBLISH_KEYS),
            tell: Script::from_lua(contract::TELL),
            end_acme_turn: Script::from_lua(contract::END_ACME_TURN),
            lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            shares_tokens,
        })
    }

    /// The client, if it is connected: a question must not wait in a queue for a server that is down.
    fn connected(&self) -> Result<&Client, Error> {
        if self.client.is_connected() {
            Ok(&self.client)
        } else {
            Err(Error::new(ErrorKind::IO, "Redis is not connected"))
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// Runs a script. What is said to it is put together once more where Redis does not have the script yet: to keep it would be a copy each
    /// time.
    async fn run<Reply: FromValue>(
        &self,
        name: &'static str,
        script: &Script,
        said: impl Fn() -> Said + Send + Sync,
    ) -> Result<Reply, Error> {
        let client = self.connected()?;
        let asked = async {
            let Said { keys, arguments } = said();
            match client.evalsha(script.sha1().clone(), keys, arguments).await {
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    script.load(client).await?;
                    let Said { keys, arguments } = said();
                    client.evalsha(script.sha1().clone(), keys, arguments).await
                }
                answered => answered,
            }
        };
        trace::ask("redis", name, asked).await
    }

    /// Waits for the first connection, however long it takes.
    pub async fn wait_until_connected(&self) {
        while self.client.wait_for_connect().await.is_err() {
            tokio::time::sleep(ANSWER_WITHIN).await;
        }
    }

    /// Replaces the connection if its server went without a word, or hangs while another has taken its place. Commands that time
    /// out do not tell: they only fail. Never returns.
    pub async fn replace_when_silent(&self) {
        let patiently = Options { timeout: Some(SILENT_FOR), ..Options::default() };
        loop {
            tokio::time::sleep(PINGED_EVERY).await;
            if !self.client.is_connected() {
                continue;
            }
            let answer: Result<(), Error> = self.client.with_options(&patiently).ping(None).await;
            if answer.is_err_and(|error| *error.kind() == ErrorKind::Timeout) {
                tracing::warn!("Redis is silent: connecting anew");
                // Where no server is found the client goes on trying by itself.
                let _ = self.client.force_reconnection().await;
            }
        }
    }

    /// Tells each (re)connection of this client.
    pub fn reconnections(&self) -> Receiver<Server> {
        self.client.reconnect_rx()
    }

    /// How often this client has connected: where it is the same before a question and after its answer, and after another's, one server
    /// has answered both.
    pub fn connections(&self) -> u64 {
        self.connections.lock().count()
    }

    /// What a credential names, if it is there; what that is worth is not told.
    pub async fn named(&self, credential: &Digest) -> Result<Option<(Uuid, i64)>, Error> {
        let key = contract::credential_key(credential);
        let value: Option<String> = trace::ask("redis", "GET", self.connected()?.get(key)).await?;
        Ok(value.as_deref().and_then(contract::parse_credential_value))
    }

    /// What a credential names, and whether Redis could know.
    pub async fn find(&self, credential: &Digest) -> Result<Finding, Error> {
        let said = || Said {
            keys: vec![contract::SNAPSHOT.to_owned(), contract::credential_key(credential)],
            arguments: Vec::new(),
        };
        let reply: Vec<String> = self.run("FIND", &self.find, said).await?;
        Finding::parse(&reply).map_err(malformed)
    }

    /// What a credential of that generation may do in a Redis of that build, or of any if none is named, without doing anything.
    pub async fn look(&self, token_id: Uuid, generation: i64, build: &str) -> Result<Lookup, Error> {
        let lease = contract::lease_key(token_id, None);
        let tail = || {
            ["look", ANY_SCOPE, "", "", "0", "", "0", "", "0", "0", "0", ""]
                .map(fixed)
                .into_iter()
                .chain([build.to_owned().into()])
                .collect()
        };
        self.ask(token_id, &lease, generation, tail).await
    }

    /// Admits a request, or says why not. Whether the token may be used from its address is judged before anything is taken: whoever
    /// is kept out must not hold the token against those who are not. [`Lookup::Guarded`] is what is left to say to them.
    /// A `build` that is named must be the one that Redis is whole by.
    pub async fn take(
        &self,
        token_id: Uuid,
        generation: i64,
        build: &str,
        taking: &Taking<'_>,
    ) -> Result<Lookup, Error> {
        let mut judged_by = String::new();
        for _ in 0..NETWORKS_READ {
            let lookup = self.take_judged_by(&judged_by, token_id, generation, build, taking).await?;
            let Lookup::Guarded(networks) = &lookup else { return Ok(lookup) };
            let whereabouts: Whereabouts = networks.parse().map_err(malformed)?;
            if !whereabouts.may_use(taking.address) {
                return Ok(lookup);
            }
            judged_by = networks.clone();
        }
        Err(unread_networks())
    }

    async fn take_judged_by(
        &self,
        networks: &str,
        token_id: Uuid,
        generation: i64,
        build: &str,
        taking: &Taking<'_>,
    ) -> Result<Lookup, Error> {
        let tail = || {
            let scopes: String = taking.scopes.iter().flat_map(|scope| [",", scope.as_str()]).chain([","]).collect();
            vec![
                fixed("take"),
                scopes.into(),
                taking.device.as_str().to_owned().into(),
                taking.session_id.to_string().into(),
                self.lease_ms.to_string().into(),
                taking.claim.to_string().into(),
                contract::CLAIM_MS.to_string().into(),
                fixed(""),
                contract::FAULTS_PER_MINUTE.to_string().into(),
                fixed(""),
                fixed(""),
                networks.to_owned().into(),
                build.to_owned().into(),
            ]
        };
        self.ask(token_id, &self.lease_key(token_id, taking.device), generation, tail).await
    }

    /// Asks again for a grant that is held, and refreshes its lease and its claim.
    pub async fn renew(&self, held: &LiveGrant) -> Result<Lookup, Error> {
        let (Some(device), Some(lease)) = (&held.key.device, held.lease) else {
            return self.look(held.token_id, held.generation, "").await;
        };
        let tail = || {
            vec![
                fixed("renew"),
                fixed(ANY_SCOPE),
                device.as_str().to_owned().into(),
                lease.session_id.to_string().into(),
                self.lease_ms.to_string().into(),
                held.open_claim().map_or(fixed(""), |claim| claim.to_string().into()),
                contract::CLAIM_MS.to_string().into(),
                lease.started_at_ms.to_string().into(),
                fixed("0"),
                held.cut_generation().to_string().into(),
                fixed(if held.uses.has_reached() { "1" } else { "0" }),
                fixed(""),
                fixed(""),
            ]
        };
        self.ask(held.token_id, &self.lease_key(held.token_id, device), held.generation, tail).await
    }

    async fn ask(
        &self,
        token_id: Uuid,
        lease: &str,
        generation: i64,
        tail: impl Fn() -> Vec<Value> + Send + Sync,
    ) -> Result<Lookup, Error> {
        let said = || {
            let mut arguments = tail();
            arguments.insert(0, generation.to_string().into());
            let keys = vec![contract::token_key(token_id), lease.to_owned(), contract::SNAPSHOT.to_owned()];
            Said { keys, arguments }
        };
        let reply: Vec<Str> = self.run("ADMIT", &self.admit, said).await?;
        Lookup::parse(token_id, &reply).map_err(malformed)
    }

    /// Ends what an admission held.
    pub async fn settle(&self, settlement: &AdmissionOutcome) -> Result<(), Error> {
        let AdmissionOutcome { token_id, device, session_id, claim, is_fault, lease } = settlement;
        let lease = match lease {
            LeaseFate::Keep => "keep",
            LeaseFate::LetGo => "let_go",
            LeaseFate::Unsettled => "",
        };
        let said = || Said {
            keys: vec![contract::token_key(*token_id), self.lease_key(*token_id, device)],
            arguments: vec![
                claim.map_or(fixed(""), |claim| claim.to_string().into()),
                fixed(if *is_fault { "1" } else { "0" }),
                fixed(lease),
                session_id.to_string().into(),
            ],
        };
        let _freed: i64 = self.run("SETTLE", &self.settle, said).await?;
        Ok(())
    }

    /// Starts a token's clock, now or at an earlier time of Redis' clock, unless it runs already since before; both planes are
    /// told in the same instant.
    pub async fn activate(&self, held: &LiveGrant, used_at_ms: Option<i64>) -> Result<Activation, Error> {
        let token_id = held.token_id;
        let lease = match &held.key.device {
            Some(device) => self.lease_key(token_id, device),
            None => contract::lease_key(token_id, None),
        };
        let said = || Said {
            keys: vec![
                contract::token_key(token_id),
                lease.clone(),
                contract::CHANGES.to_owned(),
                contract::USAGE.to_owned(),
            ],
            arguments: vec![
                token_id.to_string().into(),
                held.generation.to_string().into(),
                contract::TOMBSTONE_MS.to_string().into(),
                held.lease.map_or(fixed(""), |lease| lease.session_id.to_string().into()),
                contract::CHANGES_LENGTH.to_string().into(),
                used_at_ms.map_or(fixed(""), |at| at.to_string().into()),
                Span::current().traceparent().map_or(fixed(""), Value::from),
            ],
        };
        let reply: Vec<String> = self.run("ACTIVATE", &self.activate, said).await?;
        Activation::parse(&reply).map_err(malformed)
    }

    /// Frees a token for other devices; whether this device held it.
    pub async fn release(&self, token_id: Uuid, device: &Device) -> Result<bool, Error> {
        let said = || Said {
            keys: vec![contract::token_key(token_id), self.lease_key(token_id, device), contract::CHANGES.to_owned()],
            arguments: [token_id.to_string(), device.to_string(), contract::CHANGES_LENGTH.to_string()]
                .map(Value::from)
                .into(),
        };
        let freed: i64 = self.run("RELEASE", &self.release, said).await?;
        Ok(freed == 1)
    }

    /// Moves a token to this device, in a session of this id, and tells that event of it. What another device has open ends.
    pub async fn take_over(
        &self,
        held: &LiveGrant,
        device: &Device,
        address: Option<IpAddr>,
        session_id: Uuid,
        told: &Usage,
    ) -> Result<TakeOver, Error> {
        let (token_id, lease) = (held.token_id, self.lease_key(held.token_id, device));
        let mut judged_by = String::new();
        for _ in 0..NETWORKS_READ {
            let keys = || [contract::CHANGES, contract::USAGE, contract::SNAPSHOT].map(str::to_owned).into_iter();
            let said = || Said {
                keys: [contract::token_key(token_id), lease.clone()].into_iter().chain(keys()).collect(),
                arguments: vec![
                    held.generation.to_string().into(),
                    device.as_str().to_owned().into(),
                    session_id.to_string().into(),
                    self.lease_ms.to_string().into(),
                    judged_by.clone().into(),
                    token_id.to_string().into(),
                    contract::CHANGES_LENGTH.to_string().into(),
                    told.encode().into(),
                    Span::current().traceparent().map_or(fixed(""), Value::from),
                ],
            };
            let reply: Vec<Str> = self.run("TAKE_OVER", &self.take_over, said).await?;
            let outcome = TakeOver::parse(token_id, &reply).map_err(malformed)?;
            let TakeOver::Refused(Lookup::Guarded(networks)) = &outcome else { return Ok(outcome) };
            let whereabouts: Whereabouts = networks.parse().map_err(malformed)?;
            if !whereabouts.may_use(address) {
                return Ok(outcome);
            }
            judged_by = networks.clone();
        }
        Err(unread_networks())
    }

    fn lease_key(&self, token_id: Uuid, device: &Device) -> String {
        contract::lease_key(token_id, self.shares_tokens.then_some(device))
    }

    /// Takes the turn to order from an ACME authority, if no edge has it; it ends by itself after [`contract::ACME_TURN_SECONDS`].
    pub async fn take_acme_turn(&self, turn: Uuid) -> Result<bool, Error> {
        let ends = Expiration::EX(i64::try_from(contract::ACME_TURN_SECONDS).expect("a few minutes"));
        let (key, turn) = (contract::ACME_TURN, turn.to_string());
        let taken: Option<String> = self.connected()?.set(key, turn, Some(ends), Some(SetOptions::NX), false).await?;
        Ok(taken.is_some())
    }

    /// Ends that turn, unless it has ended by itself.
    pub async fn end_acme_turn(&self, turn: Uuid) -> Result<(), Error> {
        let said = || Said { keys: vec![contract::ACME_TURN.to_owned()], arguments: vec![turn.to_string().into()] };
        let _ended: i64 = self.run("END_ACME_TURN", &self.end_acme_turn, said).await?;
        Ok(())
    }

    /// Puts what an ACME authority is to be answered that asks for a challenge.
    pub async fn put_challenge(&self, challenge: &str, answer: &str) -> Result<(), Error> {
        let ends = Expiration::EX(contract::ACME_CHALLENGE_SECONDS);
        self.connected()?.set(contract::acme_challenge_key(challenge), answer, Some(ends), None, false).await
    }

    /// What an ACME authority is to be answered, if this is a challenge of ours.
    pub async fn challenge(&self, challenge: &str) -> Result<Option<String>, Error> {
        self.connected()?.get(contract::acme_challenge_key(challenge)).await
    }

    /// Takes the salt of a hand-over, once, and gives back what the browser is to hold.
    pub async fn redeem(&self, code: &str) -> Result<Option<Handover>, Error> {
        let key = contract::handover_key(&Handover::code_digest(code));
        let salt: Option<String> = trace::ask("redis", "GETDEL", self.connected()?.getdel(key)).await?;
        Ok(salt.and_then(|salt| Handover::join(code, &salt)))
    }

    /// Tells the control plane what this edge saw.
    pub async fn tell(&self, event: &Usage) -> Result<(), Error> {
        self.tell_all(std::slice::from_ref(event)).await
    }

    /// Tells several things; fails if one of them was not taken, though others were.
    pub async fn tell_all(&self, events: &[Usage]) -> Result<(), Error> {
        let told = events.chunks(TOLD_AT_ONCE).map(async |some| {
            let said = || Said {
                keys: vec![contract::USAGE.to_owned()],
                arguments: some.iter().map(|event| event.encode().into()).collect(),
            };
            let _told: i64 = self.run("TELL", &self.tell, said).await?;
            Ok(())
        });
        futures_util::future::try_join_all(told).await.map(drop)
    }

    /// How many events wait for the control plane.
    pub async fn usage_backlog(&self) -> Result<u64, Error> {
        self.connected()?.xlen(contract::USAGE).await
    }

    /// Counts what a token has spent of its limit here; how much of it is used on all edges.
    pub async fn spend(&self, token_id: Uuid, cost: Duration) -> Result<Duration, Error> {
        let said = || Said {
            keys: vec![contract::rate_key(Limited::Token(token_id))],
            arguments: vec![cost.as_micros().to_string().into(), fixed("")],
        };
        let reply: Vec<String> = self.run("SPEND", &self.spend, said).await?;
        Ok(Spent::parse(&reply).map_err(malformed)?.used)
    }

    /// Publishes keys that assertions are verified with, each for so long from now; all that are published, and for how long. What is no key is
    /// passed over.
    pub async fn publish_keys(&self, keys: &[(PublicKey, Duration)]) -> Result<Vec<(PublicKey, Duration)>, Error> {
        let said = || {
            let told = keys.iter().flat_map(|(key, lasts)| [key.to_string(), lasts.as_millis().to_string()]);
            let arguments = [contract::MOST_ASSERTION_KEYS.to_string()].into_iter().chain(told);
            Said { keys: vec![contract::ASSERTION_KEYS.to_owned()], arguments: arguments.map(Value::from).collect() }
        };
        let reply: Vec<String> = self.run("PUBLISH_KEYS", &self.publish_keys, said).await?;
        let published = reply.as_chunks().0.iter();
        let published = published
            .filter_map(|[key, lasts_ms]| Some((key.parse().ok()?, Duration::from_millis(lasts_ms.parse().ok()?))));
        Ok(published.take(contract::MOST_ASSERTION_KEYS).collect())
    }

    /// Which contents Redis has, and how far the feed reaches.
    pub async fn pulse(&self) -> Result<Pulse, Error> {
        let said =
            || Said { keys: vec![contract::SNAPSHOT.to_owned(), contract::CHANGES.to_owned()], arguments: Vec::new() };
        let reply: Vec<String> = self.run("PULSE", &self.pulse, said).await?;
        Pulse::parse(&reply).map_err(malformed)
    }

    /// Reads the changes after `last_id`; if it `waits` and there are none, for [`FEED_BLOCKS_FOR`] at most, and blocks this connection
    /// meanwhile. An entry that is not of the contract's shape is passed over.
    pub async fn changes_after(&self, last_id: StreamId, waits: bool) -> Result<Changes, Error> {
        let block_ms = u64::try_from(FEED_BLOCKS_FOR.as_millis()).ok().filter(|_| waits);
        // Redis answers nil, not an empty list, where nothing came.
        let read: Option<Vec<(String, Vec<Entry>)>> =
            self.client.xread(Some(FEED_BATCH), block_ms, contract::CHANGES, last_id.to_string()).await?;
        let mut changes = Changes::default();
        for (id, fields) in read.into_iter().flatten().flat_map(|(_, entries)| entries) {
            let id: StreamId = id.parse().map_err(malformed)?;
            changes.last_id = Some(id);
            changes.of.extend(changed_token(&fields).map(|token_id| (token_id, id)));
        }
        Ok(changes)
    }

    /// Says so where Redis may throw tokens away once its memory is full, and what to do about it.
    pub async fn may_evict(&self) -> Result<Option<String>, Error> {
        let text: String = self.connected()?.info(Some(InfoKind::Memory)).await?;
        let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        let policy = policy.ok_or_else(|| malformed(Malformed))?.trim();
        let may_evict = policy != KEEPS_ALL;
        Ok(may_evict.then(|| {
            format!("Redis may evict keys (maxmemory-policy {policy}); set {KEEPS_ALL}, or pass --allow-eviction")
        }))
    }

    /// Closes the connection.
    pub async fn stop(&self) {
        // Nothing is left to say to a server that does not answer a farewell.
        let _ = self.client.quit().await;
    }
}

fn changed_token(fields: &[String]) -> Option<Uuid> {
    match fields {
        [name, token_id] if name == contract::CHANGES_FIELD => token_id.parse().ok(),
        _ => None,
    }
}

fn unread_networks() -> Error {
    Error::new(ErrorKind::Unknown, "a token's networks change faster than they can be read")
}

fn malformed(malformed: Malformed) -> Error {
    Error::new(ErrorKind::Parse, malformed.to_string())
}
