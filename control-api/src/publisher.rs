//! What control-api says to Redis, one function for each thing said. State, not events: everything here may be repeated and
//! reordered.

use std::{collections::HashMap, time::Duration};

use fred::{
    prelude::*,
    types::{
        CustomCommand, Expiration, InfoKind,
        config::{Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
        scripts::Script,
        streams::XCapKind,
    },
};
use futures_util::future::{join_all, try_join_all};
use shared::{
    credential::Digest,
    grant::{Bar, Malformed},
    redis,
};
use tokio::time::error::Elapsed;
use uuid::Uuid;

use crate::{
    db::{self, access_token, credential, settings},
    domain::tokens,
};

/// How long a command may take before it counts as lost.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that leaves a command unanswered for so long is replaced: its server may be gone without having closed it.
/// Longer than any command waits in Redis, and looked for as often as [`UNRESPONSIVE_CHECK_EVERY`].
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(5);
const UNRESPONSIVE_CHECK_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to connect, in milliseconds: from, to, and by how much they grow.
const RECONNECT_DELAY_MS: (u32, u32, u32) = (50, 1_000, 2);

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
        unresponsive: UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE_AFTER), interval: UNRESPONSIVE_CHECK_EVERY },
        ..Default::default()
    };
    let (from, to, growth) = RECONNECT_DELAY_MS;
    let policy = ReconnectPolicy::new_exponential(0, from, to, growth);
    let client = Client::new(config, Some(performance), Some(connection), Some(policy));
    client.connect();
    Ok(client)
}

/// The one writer of tokens, credentials, changes, hand-overs and the snapshot.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    put: Script,
    bar: Script,
}

impl Publisher {
    pub fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self {
            client: connect(url, COMMAND_TIMEOUT)?,
            put: Script::from_lua(redis::PUT),
            bar: Script::from_lua(redis::BAR),
        })
    }

    /// Puts these tokens as Postgres has them now: the token first, so that a credential never names what is not there;
    /// then its credentials; then a change, for the edges to look again.
    pub async fn publish(&self, db: &impl db::Connection, token_ids: &[Uuid]) -> Result<(), PublishError> {
        self.publish_each(db, token_ids).await?.into_iter().try_for_each(|(_, published)| published)
    }

    /// The same, telling of each token whether it was published, so that one that cannot be holds no other up.
    pub async fn publish_each(
        &self,
        db: &impl db::Connection,
        token_ids: &[Uuid],
    ) -> Result<Vec<(Uuid, Result<(), PublishError>)>, PublishError> {
        let epoch = settings::epoch(db).await?;
        let mut credentials: HashMap<Uuid, Vec<credential::Model>> = HashMap::new();
        let tokens = access_token::list_by_ids(db, token_ids).await?;
        for credential in credential::list_of_tokens(db, token_ids).await? {
            credentials.entry(credential.token_id).or_default().push(credential);
        }
        let published = tokens.iter().map(async |owned| {
            let of_token = credentials.get(&owned.token.id).map_or(&[][..], Vec::as_slice);
            (owned.token.id, self.publish_one(epoch, owned, of_token).await)
        });
        Ok(join_all(published).await)
    }

    async fn publish_one(
        &self,
        epoch: i64,
        owned: &access_token::Owned,
        credentials: &[credential::Model],
    ) -> Result<(), PublishError> {
        let token = &owned.token;
        if self.put(epoch, owned).await? {
            try_join_all(credentials.iter().map(|credential| self.put_credential(token, credential))).await?;
        }
        self.announce(token.id).await
    }

    /// Whether the state was put: `false` if a newer one stands, whose publisher sees to the credentials as well.
    async fn put(&self, epoch: i64, owned: &access_token::Owned) -> Result<bool, PublishError> {
        let token = &owned.token;
        let activated_at = token.activated_at.map(|at| at.timestamp_millis().to_string()).unwrap_or_default();
        let arguments = vec![
            epoch.to_string(),
            token.version.to_string(),
            token.user_id.to_string(),
            token.scope.clone(),
            tokens::duration_ms(token).to_string(),
            tokens::standing(token, owned.user_is_active).as_str().to_owned(),
            token.credential_gen.to_string(),
            activated_at,
            u8::from(token.refund_requested_at.is_some()).to_string(),
            redis::TOMBSTONE_MS.to_string(),
        ];
        let keys = vec![redis::token_key(token.id)];
        let put: i64 = self.put.evalsha_with_reload(&self.client, keys, arguments).await?;
        Ok(put == 1)
    }

    /// A credential's key ends with its token's hash. One of an older generation stands a while, so that an edge finds it
    /// revoked, which cuts what it opened, and not merely unknown; any other that has ended goes at once.
    async fn put_credential(
        &self,
        token: &access_token::Model,
        credential: &credential::Model,
    ) -> Result<(), PublishError> {
        let Some(digest) = Digest::from_bytes(&credential.digest) else { return Ok(()) };
        let key = redis::credential_key(&digest);
        let is_older = credential.r#gen < token.credential_gen;
        if credential.ended_at.is_some() && !is_older {
            return Ok(self.client.del::<(), _>(key).await?);
        }
        let value = redis::credential_value(token.id, credential.r#gen);
        let ends = match (token.expires_at(), token.revoked_at) {
            _ if is_older => Some(Expiration::PX(redis::TOMBSTONE_MS)),
            (Some(expires_at), _) => Some(Expiration::PXAT(expires_at.timestamp_millis() + redis::TOMBSTONE_MS)),
            (None, Some(_)) => Some(Expiration::PX(redis::TOMBSTONE_MS)),
            (None, None) => None,
        };
        Ok(self.client.set::<(), _, _>(key, value, ends, None, false).await?)
    }

    /// Appends a change, so that every edge looks the token up again.
    async fn announce(&self, token_id: Uuid) -> Result<(), PublishError> {
        let kept = (XCapKind::MaxLen, "~", i64::try_from(redis::CHANGES_LENGTH).unwrap_or(i64::MAX), None);
        let field = (redis::CHANGES_FIELD, token_id.to_string());
        Ok(self.client.xadd::<(), _, _, _, _>(redis::CHANGES, false, kept, "*", field).await?)
    }

    /// Bars a token whose refund was asked for in this version, unless it was used.
    pub async fn bar(&self, token_id: Uuid, version: i64) -> Result<Bar, PublishError> {
        let (keys, arguments) = (vec![redis::token_key(token_id)], vec![version.to_string()]);
        let reply: Vec<String> = self.bar.evalsha_with_reload(&self.client, keys, arguments).await?;
        let bar = Bar::parse(&reply)?;
        self.announce(token_id).await?;
        Ok(bar)
    }

    /// Keeps a hand-over's salt until its browser comes for it, or its time is over.
    pub async fn hand_over(&self, code: &Digest, salt: &str) -> Result<(), PublishError> {
        let ends = Expiration::EX(i64::try_from(redis::HANDOVER_SECONDS).unwrap_or(i64::MAX));
        Ok(self.client.set::<(), _, _>(redis::handover_key(code), salt, Some(ends), None, false).await?)
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

    /// Says that Redis holds all that Postgres knows. What an earlier snapshot said of being caught up goes, and goes first.
    pub async fn write_snapshot(&self, epoch: i64, run_id: &str) -> Result<(), PublishError> {
        self.client.hdel::<(), _, _>(redis::SNAPSHOT, redis::SNAPSHOT_CAUGHT_UP_AT).await?;
        let fields = vec![(redis::SNAPSHOT_EPOCH, epoch.to_string()), (redis::SNAPSHOT_RUN_ID, run_id.to_owned())];
        Ok(self.client.hset::<(), _, _>(redis::SNAPSHOT, fields).await?)
    }

    /// Says that no change was waiting to be published at this time of Redis' clock.
    pub async fn write_caught_up(&self, at_ms: i64) -> Result<(), PublishError> {
        let field = vec![(redis::SNAPSHOT_CAUGHT_UP_AT, at_ms.to_string())];
        Ok(self.client.hset::<(), _, _>(redis::SNAPSHOT, field).await?)
    }

    /// How many events of the edges wait to be read; those that are being read count too.
    pub async fn unread_usage(&self) -> Result<u64, PublishError> {
        Ok(self.client.xlen(redis::USAGE).await?)
    }
}
