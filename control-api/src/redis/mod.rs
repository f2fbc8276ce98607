//! What control-api says to Redis, one function for each thing said. State, not events: everything here may be repeated and
//! reordered.

pub mod login_failures;
pub mod rate_limits;

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
    time::Duration,
};

use fred::{
    prelude::*,
    types::{
        CustomCommand, Expiration, FromValue, InfoKind,
        config::{Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, TcpConfig},
        scripts::Script,
        streams::XCapKind,
    },
};
use futures_util::future::{join_all, try_join_all};
use shared::{
    process::trace::{self, Span},
    redis::{
        self,
        feed::{Contents, Pulse, StreamId},
        replies::{Bar, Malformed},
    },
    token::credential::Digest,
};
use tokio::{sync::Semaphore, time::error::Elapsed};
use uuid::Uuid;

use crate::{
    db::{
        self,
        access_token::{Hour, Publishable},
        credential,
    },
    publish::batch::Batch,
};

pub use crate::publish::put::Learned;
pub use login_failures::Replacement;

/// How long a command may take before it counts as lost.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that leaves a question unanswered for so long is replaced.
const SILENT_FOR: Duration = Duration::from_secs(5);
const PINGED_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to connect, in milliseconds: from, to, and by how much they grow.
const RECONNECT_DELAY_MS: (u32, u32, u32) = (50, 1_000, 2);

/// What the edges told may wait so long to be taken in before refunds must.
const USAGE_LAG_WITHIN: Duration = Duration::from_secs(5);
/// Commands that wait for their answers at once while much is written.
const IN_FLIGHT: usize = 200;
/// Tokens, or credentials, that one command puts while Redis is filled: a command costs as much as several puts, yet while
/// one runs nobody else is answered.
const PUT_AT_ONCE: usize = 100;
/// Keys that one look of a scan goes past, about.
const SCAN_PAGE: u32 = 1_000;
/// The cursor that a scan begins at, and comes back to.
const SCAN_START: &str = "0";

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("Redis: {0}")]
    Redis(#[from] Error),
    #[error("Redis: {0}")]
    Reply(#[from] Malformed),
    #[error("Postgres: {0}")]
    Database(#[from] db::Error),
    #[error("Postgres or Redis: {0}")]
    TookTooLong(#[from] Elapsed),
    #[error("Redis: others write the same without end")]
    Contended,
}

/// The Redis server behind a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Differs for every start of a server.
    pub run_id: String,
    /// What it does when its memory is full; anything but `noeviction` may lose tokens.
    pub maxmemory_policy: String,
}

/// Opens a connection that remakes itself. Returns at once, so that the program starts while Redis is away; commands wait
/// for the connection no longer than `command_timeout`.
pub fn connect(url: &str, command_timeout: Duration) -> Result<Client, Error> {
    let mut config = Config::from_url(url)?;
    config.fail_fast = false;
    let performance = PerformanceConfig { default_command_timeout: command_timeout, ..Default::default() };
    let connection = ConnectionConfig {
        connection_timeout: CONNECT_TIMEOUT,
        internal_command_timeout: CONNECT_TIMEOUT,
        tcp: TcpConfig { nodelay: Some(true), ..Default::default() },
        ..Default::default()
    };
    let (from, to, growth) = RECONNECT_DELAY_MS;
    let policy = ReconnectPolicy::new_exponential(0, from, to, growth);
    let client = Client::new(config, Some(performance), Some(connection), Some(policy));
    client.connect();
    Ok(client)
}

/// Replaces a connection whose server went without a word, or hangs while another has taken its place. Commands that time out do
/// not tell: they only fail. Never returns.
pub async fn replace_when_silent(client: &Client) {
    let patiently = Options { timeout: Some(SILENT_FOR), ..Options::default() };
    loop {
        tokio::time::sleep(PINGED_EVERY).await;
        if !client.is_connected() {
            continue;
        }
        let answer: Result<(), Error> = client.with_options(&patiently).ping(None).await;
        if answer.is_err_and(|error| *error.kind() == ErrorKind::Timeout) {
            tracing::warn!("Redis is silent: connecting anew");
            // Where no server is found the client goes on trying by itself.
            let _ = client.force_reconnection().await;
        }
    }
}

/// Has many commands answered, in their order. Not all at once: one that is sent behind thousands of others would be given up
/// before its turn came.
async fn in_flight<T>(
    commands: impl IntoIterator<Item = impl Future<Output = Result<T, PublishError>>>,
) -> Result<Vec<T>, PublishError> {
    let places = Semaphore::new(IN_FLIGHT);
    try_join_all(commands.into_iter().map(async |command| {
        let _place = places.acquire().await.expect("the semaphore is never closed");
        command.await
    }))
    .await
}

/// The one writer of tokens, credentials, changes, hand-overs, failed logins and the snapshot.
#[derive(Clone)]
pub struct Publisher {
    pub client: Client,
    pub hour: Hour,
    pub put: Script,
    pub put_credentials: Script,
    pub bar: Script,
    pub pulse: Script,
    pub begin_rebuild: Script,
    pub finish_rebuild: Script,
    pub read_attempts: Script,
    pub replace_attempts: Script,
    pub spend: Script,
}

impl Publisher {
    pub fn connect(url: &str, hour: Hour) -> Result<Self, Error> {
        Ok(Self {
            client: connect(url, COMMAND_TIMEOUT)?,
            hour,
            put: Script::from_lua(redis::PUT),
            put_credentials: Script::from_lua(redis::PUT_CREDENTIALS),
            bar: Script::from_lua(redis::BAR),
            pulse: Script::from_lua(redis::PULSE),
            begin_rebuild: Script::from_lua(redis::BEGIN_REBUILD),
            finish_rebuild: Script::from_lua(redis::FINISH_REBUILD),
            read_attempts: Script::from_lua(redis::READ_ATTEMPTS),
            replace_attempts: Script::from_lua(redis::REPLACE_ATTEMPTS),
            spend: Script::from_lua(redis::SPEND),
        })
    }

    /// See [`replace_when_silent`].
    pub async fn replace_when_silent(&self) {
        replace_when_silent(&self.client).await;
    }

    pub async fn run<R: FromValue>(
        &self,
        name: &'static str,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<String>,
    ) -> Result<R, Error> {
        trace::ask("redis", name, script.evalsha_with_reload(&self.client, keys, arguments)).await
    }

    /// Puts these tokens as Postgres has them now: the token first, so that a credential never names what is not there;
    /// then its credentials; then a change, for the edges to look again, all within its span. Tells of each token whether it was
    /// published, so that one that cannot be holds no other up, and what Redis knew better.
    pub async fn publish_each(
        &self,
        db: &impl db::Connection,
        changes: &BTreeMap<Uuid, Span>,
    ) -> Result<Vec<(Uuid, Result<Option<Learned>, PublishError>)>, PublishError> {
        let token_ids: Vec<Uuid> = changes.keys().copied().collect();
        let batch = Batch::of(db, &token_ids).await?;
        let published = batch.tokens.iter().map(async |token| {
            let id = token.id;
            let publication = self.publish_one(batch.epoch, token, batch.credentials_of(id));
            let published = changes[&id].around(publication).await;
            changes[&id].answered(&published);
            (id, published)
        });
        Ok(join_all(published).await)
    }

    async fn publish_one(
        &self,
        epoch: i64,
        token: &Publishable,
        credentials: &[credential::Publishable],
    ) -> Result<Option<Learned>, PublishError> {
        let learned = self.put(epoch, std::slice::from_ref(token)).await?.pop();
        // Where a newer state stands, its publisher may not have come to the credentials yet.
        let credentials: Vec<_> = credentials.iter().map(|credential| (token, credential)).collect();
        self.put_each_credential(&credentials).await?;
        self.announce(token.id).await?;
        Ok(learned)
    }

    /// Puts a batch in two strides, every token and then every credential, without a change for each: whoever fills Redis
    /// announces a new build, at which edges look everything up again. What Redis knew better.
    pub async fn fill<'a>(&self, batch: &'a Batch) -> Result<Vec<Learned>, PublishError> {
        let learned = in_flight(batch.tokens.chunks(PUT_AT_ONCE).map(|some| self.put(batch.epoch, some))).await?;
        let of_token =
            |token: &'a Publishable| batch.credentials_of(token.id).iter().map(move |credential| (token, credential));
        let credentials: Vec<_> = batch.tokens.iter().flat_map(of_token).collect();
        self.put_each_credential(&credentials).await?;
        Ok(learned.into_iter().flatten().collect())
    }

    async fn put_each_credential(
        &self,
        credentials: &[(&Publishable, &credential::Publishable)],
    ) -> Result<(), PublishError> {
        in_flight(credentials.chunks(PUT_AT_ONCE).map(|some| self.put_credentials(some))).await.map(drop)
    }

    /// Appends a change, so that every edge looks the token up again.
    async fn announce(&self, token_id: Uuid) -> Result<(), PublishError> {
        let kept = (XCapKind::MaxLen, "~", i64::try_from(redis::CHANGES_LENGTH).unwrap_or(i64::MAX), None);
        let field = (redis::CHANGES_FIELD, token_id.to_string());
        let told = self.client.xadd::<(), _, _, _, _>(redis::CHANGES, false, kept, "*", field);
        Ok(trace::ask("redis", "XADD", told).await?)
    }

    /// Bars a token whose refund was asked for in this version, unless it was used.
    pub async fn bar(&self, token_id: Uuid, version: i64) -> Result<Bar, PublishError> {
        let (keys, arguments) = (vec![redis::token_key(token_id)], vec![version.to_string()]);
        let reply: Vec<String> = self.run("BAR", &self.bar, keys, arguments).await?;
        let bar = Bar::parse(&reply)?;
        self.announce(token_id).await?;
        Ok(bar)
    }

    /// Which filling of Redis can be asked whether a token was used; `None` while it cannot say: it is not whole, was filled
    /// less than `hold` ago, or an edge has told of activations that Postgres has not taken in for so long.
    pub async fn ground_for_refunds(&self, hold: Duration) -> Result<Option<Contents>, PublishError> {
        let pulse = self.pulse().await?;
        let built_at = self.built_at().await?;
        let hold_ms = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
        let is_settled = built_at.is_none_or(|at| pulse.now_ms.saturating_sub(at) >= hold_ms);
        let is_firm = pulse.is_whole && is_settled && self.usage_lag().await? <= USAGE_LAG_WITHIN;
        Ok(is_firm.then_some(pulse.contents))
    }

    /// Whether Redis is whole, and how far its change feed reaches.
    pub async fn pulse(&self) -> Result<Pulse, PublishError> {
        let keys = vec![redis::SNAPSHOT.to_owned(), redis::CHANGES.to_owned()];
        let reply: Vec<String> = self.run("PULSE", &self.pulse, keys, Vec::new()).await?;
        Ok(Pulse::parse(&reply)?)
    }

    /// When Redis was last filled with tokens that had been sold before, in milliseconds of Redis' clock.
    pub async fn built_at(&self) -> Result<Option<i64>, PublishError> {
        Ok(self.client.hget(redis::SNAPSHOT, redis::SNAPSHOT_BUILT_AT).await?)
    }

    /// Keeps a hand-over's salt until its browser comes for it, or its time is over.
    pub async fn hand_over(&self, code: &Digest, salt: &str) -> Result<(), PublishError> {
        let ends = Expiration::EX(i64::try_from(redis::HANDOVER_SECONDS).unwrap_or(i64::MAX));
        let kept = self.client.set::<(), _, _>(redis::handover_key(code), salt, Some(ends), None, false);
        Ok(trace::ask("redis", "SET", kept).await?)
    }

    /// Which server this is.
    pub async fn server(&self) -> Result<Server, PublishError> {
        let text: String = self.client.info(Some(InfoKind::Default)).await?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.trim().to_owned()).ok_or(Malformed)
        };
        Ok(Server { run_id: field("run_id")?, maxmemory_policy: field("maxmemory_policy")? })
    }

    /// Redis' clock, in milliseconds since 1970.
    pub async fn now_ms(&self) -> Result<i64, PublishError> {
        let (seconds, micros): (i64, i64) =
            self.client.custom(CustomCommand::new_static("TIME", None, false), Vec::<String>::new()).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    /// Which epoch and server the snapshot was written for; `None` if it is not there, or not whole.
    pub async fn snapshot(&self) -> Result<Option<(i64, String)>, PublishError> {
        let fields = vec![redis::SNAPSHOT_EPOCH, redis::SNAPSHOT_RUN_ID];
        let (epoch, run_id): (Option<i64>, Option<String>) = self.client.hmget(redis::SNAPSHOT, fields).await?;
        Ok(epoch.zip(run_id))
    }

    /// Says that Redis is not whole, and which build is filling it.
    pub async fn begin_rebuild(&self, build: Uuid) -> Result<(), PublishError> {
        Ok(self
            .run("BEGIN_REBUILD", &self.begin_rebuild, vec![redis::SNAPSHOT.to_owned()], vec![build.to_string()])
            .await?)
    }

    /// Says that Redis holds all that Postgres knows; `false` if it lost something since this build began. Where there was
    /// a token to publish, it could have been used before, and its activation still be on its way.
    pub async fn finish_rebuild(
        &self,
        build: Uuid,
        epoch: i64,
        run_id: &str,
        published: usize,
    ) -> Result<bool, PublishError> {
        let holds_tokens = u8::from(published > 0).to_string();
        let arguments = vec![build.to_string(), epoch.to_string(), run_id.to_owned(), holds_tokens];
        let finished: i64 =
            self.run("FINISH_REBUILD", &self.finish_rebuild, vec![redis::SNAPSHOT.to_owned()], arguments).await?;
        Ok(finished == 1)
    }

    /// Says that no change was waiting to be published at this time of Redis' clock.
    pub async fn write_caught_up(&self, at_ms: i64) -> Result<(), PublishError> {
        let field = vec![(redis::SNAPSHOT_CAUGHT_UP_AT, at_ms.to_string())];
        Ok(self.client.hset::<(), _, _>(redis::SNAPSHOT, field).await?)
    }

    /// How long the oldest event of the edges has waited to be taken in.
    pub async fn usage_lag(&self) -> Result<Duration, PublishError> {
        let oldest: Vec<(String, HashMap<String, String>)> =
            self.client.xrange_values(redis::USAGE, "-", "+", Some(1)).await?;
        let Some((id, _)) = oldest.first() else { return Ok(Duration::ZERO) };
        let told_at: StreamId = id.parse()?;
        let now_ms = u64::try_from(self.now_ms().await?).unwrap_or_default();
        Ok(Duration::from_millis(now_ms.saturating_sub(told_at.at_ms)))
    }

    /// Goes through the names of the keys that match, a page at a time.
    pub fn scan(&self, matching: &'static str) -> Scan<'_> {
        Scan { client: &self.client, matching, cursor: Some(SCAN_START.to_owned()) }
    }

    /// Removes tokens that Postgres does not have, or that ended long ago.
    pub async fn forget_tokens(&self, token_ids: &[Uuid]) -> Result<(), PublishError> {
        in_flight(token_ids.iter().map(async |&token_id| {
            self.client.del::<(), _>(redis::token_key(token_id)).await?;
            self.announce(token_id).await
        }))
        .await
        .map(drop)
    }

    /// Forgets that these credentials have ended.
    pub async fn revive(&self, digests: &[Digest]) -> Result<(), PublishError> {
        in_flight(digests.iter().map(async |digest| {
            let key = redis::credential_key(digest);
            let value: Option<String> = self.client.get(&key).await?;
            if value.is_some_and(|value| value.ends_with(redis::ENDED_SUFFIX)) {
                self.client.del::<(), _>(key).await?;
            }
            Ok(())
        }))
        .await
        .map(drop)
    }

    /// Removes credentials that Postgres does not have, or that belong to such tokens.
    pub async fn forget_credentials(&self, digests: &[Digest]) -> Result<(), PublishError> {
        in_flight(digests.iter().map(async |digest| {
            let named: Option<String> = self.client.getdel(redis::credential_key(digest)).await?;
            match named.as_deref().and_then(redis::parse_credential_value) {
                Some((token_id, generation)) if generation != redis::ENDED_GENERATION => self.announce(token_id).await,
                _ => Ok(()),
            }
        }))
        .await
        .map(drop)
    }
}

/// A walk through keys, while they change.
pub struct Scan<'a> {
    client: &'a Client,
    matching: &'static str,
    /// `None` at the end.
    cursor: Option<String>,
}

impl Scan<'_> {
    /// What the next keys name, in their braces; at least one, and `None` at the end.
    pub async fn next<T: FromStr>(&mut self) -> Result<Option<Vec<T>>, PublishError> {
        while let Some(cursor) = self.cursor.take() {
            let (next, keys): (String, Vec<String>) =
                self.client.scan_page(cursor, self.matching, Some(SCAN_PAGE), None).await?;
            self.cursor = (next != SCAN_START).then_some(next);
            let names: Vec<T> = keys.iter().filter_map(|key| redis::tagged(key)?.parse().ok()).collect();
            if !names.is_empty() {
                return Ok(Some(names));
            }
        }
        Ok(None)
    }
}
