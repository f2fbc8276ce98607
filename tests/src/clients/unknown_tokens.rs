//! Many requests with tokens that nobody ever sold, and what they cost.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use http::Method;
use shared::{
    redis::{SNAPSHOT, credential_key},
    token::credential::Digest,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    clients::http::{Ask, client},
    stack::Stack,
};

const AT_ONCE: usize = 16;
const PATH: &str = "/users/currentUser";

/// What a crowd of strangers has cost the first edge and Redis.
#[derive(Clone, Debug)]
pub struct Cost {
    /// How many made-up tokens were looked up in Redis more than once, or never.
    pub not_once: usize,
    /// How often the one that came again and again was looked up.
    pub repeated: usize,
    /// How long it came.
    pub repeated_for: Duration,
    /// How many refusals were anything but `401`.
    pub not_401: usize,
    /// By how much the edge grew after the first tenth.
    pub grown_bytes: u64,
}

/// Sends the first edge that many made-up tokens, each once, and then one of them as often again.
/// Every edge must have settled.
pub async fn cost(stack: &Stack, tokens: usize) -> anyhow::Result<Cost> {
    let salt = Uuid::new_v4().simple().to_string();
    let text = Arc::new(move |number: usize| format!("{salt}{number:032}"));
    let edge = stack.edge_planes[0].process();
    let monitor = stack.redis.monitor().await?;
    let mut not_401 = send(stack, text.clone(), 0..tokens / 10).await?;
    let before = edge.resident_bytes()?;
    not_401 += send(stack, text.clone(), tokens / 10..tokens).await?;
    let began = Instant::now();
    let same = text.clone();
    not_401 += send(stack, Arc::new(move |_| same(tokens)), 0..tokens).await?;
    let repeated_for = began.elapsed();
    let grown_bytes = edge.resident_bytes()?.saturating_sub(before);

    let mut looked_up = HashMap::<String, usize>::new();
    // By a plain look first, and where that finds nothing by the script that says what that is
    // worth.
    let proofs = monitor.commands(&stack.redis).await?.into_iter().filter(|command| command.contains(SNAPSHOT));
    for command in proofs {
        for key in command.split('"').filter(|word| word.starts_with("zenzefi:")) {
            *looked_up.entry(key.to_owned()).or_default() += 1;
        }
    }
    let times = |number| {
        let key = credential_key(&Digest::of(text(number).as_bytes()));
        looked_up.get(&key).copied().unwrap_or_default()
    };
    ensure!(!looked_up.is_empty(), "the monitor saw nothing");
    let not_once = (0..tokens).filter(|&number| times(number) != 1).count();
    Ok(Cost { not_once, repeated: times(tokens), repeated_for, not_401, grown_bytes })
}

/// Sends one request for each number; how many were answered with anything but `401`.
async fn send(
    stack: &Stack,
    text: Arc<impl Fn(usize) -> String + Send + Sync + 'static>,
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<usize> {
    // A refusal over HTTP/1.1 closes its connection.
    let http = client().http2_prior_knowledge().build().context("cannot make a client")?;
    let (next, url) = (Arc::new(AtomicUsize::new(numbers.start)), format!("{}{PATH}", stack.edge().url()));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (http, next, text, url, end) = (http.clone(), next.clone(), text.clone(), url.clone(), numbers.end);
        workers.spawn(async move {
            let mut not_401 = 0;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return anyhow::Ok(not_401);
                }
                let request = http.request(Method::GET, &url).header("X-Access-Token", text(number));
                not_401 += usize::from(request.try_answer().await?.status != 401);
            }
        });
    }
    workers.join_all().await.into_iter().sum()
}
