//! What stands in for the control plane where a test is about the edge alone: it puts tokens into
//! Redis by the calls that the control plane makes, and says every second that none is missing.

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::Utc;
use shared::{
    redis::{
        CHANGES, CHANGES_FIELD, SNAPSHOT, SNAPSHOT_CAUGHT_UP_AT,
        calls::{BeginRebuild, Credential, FinishRebuild, Lifetime, Put, PutCredentials, TokenState},
    },
    token::{scope::Scope, state::Standing},
};
use tokio::{task::JoinSet, time::interval};
use uuid::Uuid;

use crate::{
    people::Token,
    servers::redis::{Redis, command},
};

/// How often the control plane says that nothing waits to be published.
const CAUGHT_UP_EVERY: Duration = Duration::from_secs(1);
/// Postgres was never restored.
const EPOCH: i64 = 1;
/// Of the only credential of each token.
const GENERATION: i64 = 1;
const HOURS: i64 = 24;

/// Issues tokens without a control plane; all belong to one user.
#[derive(Debug)]
pub struct Issuer {
    pub user_id: Uuid,
    /// Ends with the issuer.
    _caught_up: JoinSet<()>,
}

impl Issuer {
    /// Says that Redis is whole: it has every token, as there is none yet.
    pub(super) async fn start(redis: &Redis) -> anyhow::Result<Self> {
        let build = Uuid::new_v4();
        redis.call(&BeginRebuild { build }).await?;
        let run_id = redis.command(&["INFO", "server"]).await?;
        let run_id = run_id.lines().find_map(|line| line.strip_prefix("run_id:")).context("no run_id")?.trim();
        let finish = FinishRebuild { build, epoch: EPOCH, run_id, holds_tokens: false };
        ensure!(redis.call(&finish).await? == ["1"], "Redis is not whole");
        let port = redis.port();
        let mut caught_up = JoinSet::new();
        caught_up.spawn(async move {
            let mut turns = interval(CAUGHT_UP_EVERY);
            loop {
                turns.tick().await;
                let now_ms = Utc::now().timestamp_millis().to_string();
                // A test may have stopped the server: it is told again in a second.
                let _ = command(port, &["HSET", SNAPSHOT, SNAPSHOT_CAUGHT_UP_AT, &now_ms]).await;
            }
        });
        Ok(Self { user_id: Uuid::new_v4(), _caught_up: caught_up })
    }

    pub(super) async fn issues(&self, redis: &Redis, scope: Scope) -> Token {
        let id = Uuid::now_v7();
        let text = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let token = Token { id, text };
        self.put(redis, &self.state(id, 1, scope, Standing::Live)).await;
        let digest = token.digest();
        let credentials =
            [Credential { digest: &digest, token_id: id, generation: GENERATION, lasts: Lifetime::WhileReady }];
        redis.call(&PutCredentials { credentials: &credentials }).await.expect("a credential that is put");
        announce(redis, id).await;
        token
    }

    pub(super) async fn revokes(&self, redis: &Redis, token: &Token) {
        self.put(redis, &self.state(token.id, 2, Scope::Full, Standing::Revoked)).await;
        announce(redis, token.id).await;
    }

    fn state(&self, token_id: Uuid, version: i64, scope: Scope, standing: Standing) -> TokenState<'static> {
        TokenState {
            token_id,
            version,
            user_id: self.user_id,
            duration_ms: HOURS * 3_600_000,
            standing,
            credential_gen: GENERATION,
            activated_at_ms: None,
            scope: scope.as_str(),
            is_refund_pending: false,
            networks: String::new(),
            lease: None,
            cut: None,
        }
    }

    async fn put(&self, redis: &Redis, state: &TokenState<'_>) {
        let put = Put { epoch: EPOCH, tokens: std::slice::from_ref(state) };
        redis.call(&put).await.expect("a token that is put");
    }
}

/// Tells the edges to look a token up again.
async fn announce(redis: &Redis, token_id: Uuid) {
    let token_id = token_id.to_string();
    redis.command(&["XADD", CHANGES, "*", CHANGES_FIELD, &token_id]).await.expect("a change");
}
