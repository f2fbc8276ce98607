//! Many tokens at work: put into Postgres at once, used by steady traffic, and what that traffic
//! was answered.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    people::{Edge, Token, User},
    stack::Stack,
};

/// What each request asks for.
const PATH: &str = "/status/200";
/// An id of version 7, the n-th of its statement: ids that grow with time, as those of tokens that
/// are bought do.
const V7: &str = "lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + n), 12, '0')
    || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14)";
/// For as many tokens as anybody seeds.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(300);
/// For as many tokens as anybody reaches.
const CALMS_WITHIN: Duration = Duration::from_secs(300);

impl Stack {
    /// Makes `count` tokens of an hour each that were never used, as purchases of `user`
    /// would have, but in one statement. They are published, as any change is, when this returns.
    pub async fn seeds(&self, user: &User, count: usize) -> anyhow::Result<Vec<Token>> {
        let changes = ", changes AS (INSERT INTO outbox (token_id) SELECT id FROM drawn)";
        let tokens = self.insert_tokens(user, count, changes).await?;
        let deadline = Instant::now() + PUBLISHED_WITHIN;
        while self.control.database.query("SELECT count(*) FROM outbox").await? != "0" {
            anyhow::ensure!(Instant::now() < deadline, "{count} tokens are not published after {PUBLISHED_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(tokens)
    }

    /// The same, but nobody is told: Redis learns of them when it is next filled anew, which spares
    /// a great many the way one by one.
    pub async fn seeds_unpublished(&self, user: &User, count: usize) -> anyhow::Result<Vec<Token>> {
        self.insert_tokens(user, count, "").await
    }

    /// Makes tokens in one statement that does `besides` too, with their ids as `drawn`.
    async fn insert_tokens(&self, user: &User, count: usize, besides: &str) -> anyhow::Result<Vec<Token>> {
        // One half of every text, so that the logs can be searched for all of them at once.
        let salt = Uuid::new_v4().simple().to_string();
        self.secrets.remember("token", &salt);
        let statement = format!(
            "WITH drawn AS MATERIALIZED (SELECT ({V7})::uuid AS id, n FROM generate_series(1, {count}) AS n),
                tokens AS (INSERT INTO access_tokens (id, user_id, token_prefix, scope, duration_hours, cost)
                    SELECT id, '{}', left('{salt}', 8), 'full', 1, 0 FROM drawn),
                texts AS (INSERT INTO credentials (digest, token_id, gen, kind)
                    SELECT sha256(('{salt}' || lpad(n::text, 32, '0'))::bytea), id, 1, 'text' FROM drawn)
                {besides}
            SELECT id FROM drawn ORDER BY n",
            user.id
        );
        let ids = self.control.database.query(&statement).await.context("cannot seed tokens")?;
        let token =
            |(n, id): (usize, &str)| Token { id: id.parse().expect("a UUID"), text: format!("{salt}{:032}", n + 1) };
        Ok(ids.lines().enumerate().map(token).collect())
    }
}

/// Requests with many tokens, one after the other, on every edge by turns, until it is stopped.
#[derive(Debug)]
pub struct Load {
    reach: Arc<AtomicUsize>,
    /// How many answers in a row were a `200`.
    calm: Arc<AtomicUsize>,
    stopped: CancellationToken,
    workers: JoinSet<Tally>,
}

/// What a load was answered.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How often each status came; `0` stands for a request that got no answer.
    pub statuses: BTreeMap<u16, u64>,
    /// When the last answer came that was not a `200`.
    pub last_trouble: Option<Instant>,
    /// The longest that a `200` took.
    pub slowest: Duration,
}

impl Tally {
    /// How often this status came.
    pub fn of(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// How many requests were answered or not.
    pub fn total(&self) -> u64 {
        self.statuses.values().sum()
    }

    fn add(&mut self, status: u16, began: Instant) {
        *self.statuses.entry(status).or_default() += 1;
        match status {
            200 => self.slowest = self.slowest.max(began.elapsed()),
            _ => self.last_trouble = Some(Instant::now()),
        }
    }

    fn with(mut self, other: Self) -> Self {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        let (last_trouble, slowest) = (self.last_trouble.max(other.last_trouble), self.slowest.max(other.slowest));
        Self { statuses: self.statuses, last_trouble, slowest }
    }
}

impl Load {
    /// Starts a number of workers that share the first `reach` of these tokens.
    pub fn start(edges: &[Edge], tokens: &Arc<[Token]>, reach: usize, workers: usize) -> Self {
        let reach = Arc::new(AtomicUsize::new(reach));
        let mut load = Self { reach, calm: Arc::default(), stopped: CancellationToken::new(), workers: JoinSet::new() };
        let turns = Arc::new(AtomicUsize::new(0));
        for _ in 0..workers {
            let (edges, tokens, turns) = (edges.to_vec(), tokens.clone(), turns.clone());
            let (reach, calm, stopped) = (load.reach.clone(), load.calm.clone(), load.stopped.clone());
            load.workers.spawn(async move {
                let mut tally = Tally::default();
                while !stopped.is_cancelled() {
                    let turn = turns.fetch_add(1, Ordering::Relaxed);
                    let reach = reach.load(Ordering::Relaxed);
                    // Another edge each time round.
                    let (token, edge) = (&tokens[turn % reach], &edges[(turn + turn / reach) % edges.len()]);
                    let began = Instant::now();
                    let status = edge.status_for(token, PATH).await;
                    tally.add(status, began);
                    match status {
                        200 => drop(calm.fetch_add(1, Ordering::Relaxed)),
                        _ => calm.store(0, Ordering::Relaxed),
                    }
                }
                tally
            });
        }
        load
    }

    /// Uses the first `reach` tokens from now on, and counts anew.
    pub fn reach(&self, reach: usize) {
        self.reach.store(reach, Ordering::Relaxed);
        self.calm.store(0, Ordering::Relaxed);
    }

    /// Waits until a number of answers in a row were a `200`; as many as are reached mean that each
    /// of them works.
    pub async fn calms(&self, answers: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + CALMS_WITHIN;
        loop {
            let calm = self.calm.load(Ordering::Relaxed);
            if calm >= answers {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "{calm} good answers in a row, not {answers}, after {CALMS_WITHIN:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it, and waits for the last answers.
    pub async fn stop(self) -> Tally {
        self.stopped.cancel();
        self.workers.join_all().await.into_iter().fold(Tally::default(), Tally::with)
    }
}
