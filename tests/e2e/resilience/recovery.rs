//! Redis lost, emptied, turned back, silent: nobody with a good token is told that it is bad, and
//! nothing that ended comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use testbed::{
    clients::{
        http::Ask,
        load::Load,
        websocket::{Socket, upgrade},
    },
    eventually,
    people::Token,
    processes::{
        process::{Launch, built_program},
        programs::environment,
    },
    servers::redis::Redis,
    stack::Stack,
};
use tokio_tungstenite::tungstenite::Message;

/// Enough that Redis is not full again in an instant.
const TOKENS: usize = 2_000;
const WORKERS: usize = 8;
const QUIET: &str = "every_ms=3600000";

/// Loses what Redis holds while half of many tokens are in use, then uses the other half too, which
/// no edge has ever seen.
async fn no_good_token_is_called_bad(lose: impl AsyncFnOnce(&mut Redis)) {
    let mut stack = Stack::plan().edges(2).start().await;
    stack.announce(503);
    let alice = stack.control.user("alice").await;
    let tokens: Arc<[Token]> = stack.seeds(&alice, TOKENS).await.expect("tokens").into();
    let load = Load::start(&stack.edges, &tokens, TOKENS / 2, WORKERS);
    load.calms(TOKENS / 2).await.expect("a load that is served");
    lose(&mut stack.redis).await;
    load.reach(TOKENS);
    load.calms(TOKENS).await.expect("tokens that work again");
    let tally = load.stop().await;
    assert_eq!(tally.of(200) + tally.of(503), tally.total(), "{tally:?}");
    stack.finish().await;
}

#[tokio::test]
async fn a_flush_under_load_calls_no_good_token_bad() {
    no_good_token_is_called_bad(async |redis| redis.flush().await.expect("a flush")).await;
}

#[tokio::test]
async fn two_flushes_in_the_middle_of_a_rebuild_call_no_good_token_bad() {
    no_good_token_is_called_bad(async |redis| {
        for _ in 0..2 {
            redis.flush().await.expect("a flush");
            let keys = async || redis.command(&["DBSIZE"]).await.expect("a count").parse::<usize>().expect("a number");
            eventually!(keys().await, |keys| *keys > 20);
        }
        redis.flush().await.expect("a flush");
    })
    .await;
}

#[tokio::test]
async fn a_redis_killed_and_restarted_empty_under_load_calls_no_good_token_bad() {
    no_good_token_is_called_bad(async |redis| redis.start_empty().await.expect("a restart")).await;
}

#[tokio::test]
async fn an_old_dump_brings_no_revoked_token_back() {
    let mut stack = Stack::plan().edges(2).start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let (revoked, unseen, good) = (alice.buys(24).await, alice.buys(24).await, alice.buys(24).await);
    for token in [&revoked, &good] {
        assert_eq!(stack.edge().status_for(token, "/").await, 200);
    }
    let dump = stack.redis.dump().await.expect("a dump");
    for token in [&revoked, &unseen] {
        let path = format!("/admin/tokens/{}", token.id);
        stack.control.admin.request(Method::DELETE, &path).answer().await.expect(200);
    }
    stack.redis.start_from(&dump).await.expect("a restart");

    let mut seen = Vec::new();
    let mut statuses = async || {
        let mut round = Vec::new();
        for edge in &stack.edges {
            for token in [&revoked, &unseen, &good] {
                round.push(edge.status_for(token, "/").await);
            }
        }
        seen.push(round.clone());
        round
    };
    eventually!(statuses().await, |round| *round == [401, 401, 200, 401, 401, 200]);
    for round in seen {
        for token in round.chunks(3) {
            assert!([401, 503].contains(&token[0]) && [401, 503].contains(&token[1]), "{round:?}");
            assert!([200, 503].contains(&token[2]), "{round:?}");
        }
    }
    stack.finish().await;
}

/// Waits until every edge has taken in all changes so far: a token that is in doubt must be asked
/// for. The feed has an order, so a later change that shows is enough.
async fn heard_up_to_now(stack: &Stack) {
    let token = stack.control.user("marker").with_credits(100).await.buys(1).await;
    let mut sockets = Vec::new();
    for edge in &stack.edges {
        let mut socket = Socket::open(upgrade(edge, &token, None, QUIET)).await.expect("an upgrade");
        socket.next().await;
        sockets.push(socket);
    }
    let path = format!("/admin/tokens/{}", token.id);
    stack.control.admin.request(Method::DELETE, &path).answer().await.expect(200);
    for socket in sockets {
        socket.ended().await.expect(4003, "token revoked");
    }
}

#[tokio::test]
async fn three_seconds_without_redis_are_not_noticed_by_who_is_let_in() {
    const PAUSE: Duration = Duration::from_secs(3);
    let stack = Stack::plan().edges(2).start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let mut sockets = Vec::new();
    for edge in &stack.edges {
        let mut socket = Socket::open(upgrade(edge, &token, None, QUIET)).await.expect("an upgrade");
        socket.next().await;
        sockets.push(socket);
    }
    heard_up_to_now(&stack).await;
    stack.redis.pause();
    let paused = Instant::now();
    while paused.elapsed() < PAUSE {
        let asked = Instant::now();
        for (edge, socket) in stack.edges.iter().zip(&mut sockets) {
            assert_eq!(edge.status_for(&token, "/status/200").await, 200);
            assert!(socket.is_open().await);
        }
        assert!(asked.elapsed() < Duration::from_secs(1), "noticed: {:?}", asked.elapsed());
    }
    stack.redis.resume();
    for (edge, socket) in stack.edges.iter().zip(&mut sockets) {
        assert_eq!(edge.status_for(&token, "/status/200").await, 200);
        socket.send(Message::text("and after")).await;
        assert_eq!(socket.next().await, Message::text("and after"));
    }
    drop(sockets);
    stack.finish().await;
}

/// Takes Redis away for longer than the edges go on without it, gives it back, and checks what open
/// and new requests see.
async fn an_outage(begin: impl AsyncFn(&mut Redis), end: impl AsyncFn(&mut Redis)) {
    const GRACE: Duration = Duration::from_secs(3);
    let mut stack = Stack::plan()
        .edge_env("REDIS_OUTAGE_GRACE_SECONDS", "3")
        .edge_env("REVOCATION_STALENESS_SECONDS", "1")
        .start()
        .await;
    stack.announce(503);
    let alice = stack.control.user("alice").with_credits(100).await;
    let (held, unseen) = (alice.buys(24).await, alice.buys(24).await);
    let mut socket = Socket::open(upgrade(stack.edge(), &held, None, QUIET)).await.expect("an upgrade");
    socket.next().await;
    let mut ticks = stack.edge().with(&held, Method::GET, "/sse?every_ms=20").send().await.expect("a stream");

    begin(&mut stack.redis).await;
    let gone = Instant::now();
    assert_eq!(stack.edge().status_for(&held, "/").await, 200);
    assert_eq!(stack.edge().status_for(&unseen, "/").await, 503);
    let (ending, ()) = tokio::join!(socket.ended(), async { while let Ok(Some(_)) = ticks.chunk().await {} });
    ending.expect(1013, "try again later");
    // It counts from what was last heard, which is a second before at most.
    let lived_on = ending.at - gone;
    assert!((GRACE - Duration::from_secs(2)..GRACE + Duration::from_secs(3)).contains(&lived_on), "{lived_on:?}");
    let refused = stack.edge().with(&held, Method::GET, "/").answer().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    refused.problem();
    assert!(stack.edge_planes[0].metric("edge_cutoffs_total", "reason=\"redis_unavailable\"").await >= 2.0);

    end(&mut stack.redis).await;
    for token in [&held, &unseen] {
        let status = eventually!(stack.edge().status_for(token, "/").await, |status| *status != 503);
        assert_eq!(status, 200);
    }
    eventually!(stack.edge().token_status(&Token::stranger()).await, |status| *status == 401);
    stack.finish().await;
}

#[tokio::test]
async fn a_redis_silent_for_too_long_ends_what_is_open_and_all_is_well_afterwards() {
    an_outage(async |redis| redis.pause(), async |redis| redis.resume()).await;
}

#[tokio::test]
async fn a_redis_down_for_too_long_ends_what_is_open_and_all_is_well_afterwards() {
    an_outage(async |redis| redis.kill().await, async |redis| redis.start_again().await.expect("a restart")).await;
}

#[tokio::test]
async fn after_a_restore_of_postgres_a_bumped_epoch_puts_its_word_above_what_redis_has() {
    let mut stack = Stack::start().await;
    stack.settle().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let restored = "access_tokens, credentials";
    let statements = |statement: fn(&str) -> String| restored.split(", ").map(statement).collect::<Vec<_>>().join(";");
    let backup = statements(|table| format!("CREATE TABLE backup_of_{table} AS TABLE {table}"));
    // What Postgres works out itself cannot be put back.
    let backup = format!("{backup}; ALTER TABLE backup_of_access_tokens DROP COLUMN time_up_at");
    stack.control.database.query(&backup).await.expect("a backup");
    let path = format!("/admin/tokens/{}", token.id);
    stack.control.admin.request(Method::DELETE, &path).answer().await.expect(200);
    eventually!(stack.edge().token_status(&token).await, |status| *status == 401);

    let mut restore = String::new();
    for table in restored.split(", ") {
        let columns = format!(
            "SELECT string_agg(attname, ', ') FROM pg_attribute
             WHERE attrelid = 'backup_of_{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        );
        let columns = stack.control.database.query(&columns).await.expect("columns");
        restore +=
            &format!("DELETE FROM {table}; INSERT INTO {table} ({columns}) SELECT {columns} FROM backup_of_{table}; ");
    }
    let restore = format!("SET session_replication_role = replica; {restore} SET session_replication_role = origin");
    stack.control.database.query(&restore).await.expect("a restore");
    stack.control.database.query("INSERT INTO outbox (token_id) SELECT id FROM access_tokens").await.expect("a change");
    eventually!(stack.control.database.query("SELECT count(*) FROM outbox").await.expect("a count"), |left| left
        == "0");
    assert_eq!(stack.edge().token_status(&token).await, 401, "an older version replaced a newer one");

    stack.control.plane.runs(&["epoch", "bump"]).await.expect("a bump");
    eventually!(stack.edge().token_status(&token).await, |status| *status == 200);
    stack.finish().await;
}

#[tokio::test]
async fn neither_program_starts_on_a_redis_that_may_evict_unless_told_to() {
    let stack = Stack::start().await;
    stack.redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.expect("a setting");
    let folder = testbed::processes::folder::Folder::temporary().expect("a folder");
    let redis_url = stack.redis.url();
    let both = [("REDIS_URL", redis_url.as_str()), ("PUBLIC_ORIGIN", "https://gateway.test")];
    let control = [
        ("DATABASE_URL", stack.control.database.url()),
        ("SECRET_KEY", "f0e1d2c3b4a5968778695a4b3c2d1e0f"),
        ("CONTROL_LISTEN", "127.0.0.1:0"),
        ("CONTROL_OPS_LISTEN", "127.0.0.1:0"),
    ];
    let edge =
        [("ZENZEFI_URL", "https://zenzefi.test"), ("EDGE_LISTEN", "127.0.0.1:0"), ("EDGE_OPS_LISTEN", "127.0.0.1:0")];
    for (program, own) in [("control-api", &control[..]), ("edge-proxy", &edge[..])] {
        let mut variables = environment(both);
        variables.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let launch = |name| {
            let launch = Launch::new(name, built_program(program).expect("a built program"), folder.path());
            launch.arg("serve").envs(&variables)
        };
        let mut refused = launch(program).spawn().expect("a process");
        let status = tokio::time::timeout(eventually::DEADLINE, refused.wait()).await.expect("an end in time");
        let said = refused.quote();
        assert_eq!(status.code(), Some(2), "{program}: {said}");
        assert!(said.contains("REDIS_URL: Redis may evict keys (maxmemory-policy allkeys-lru)"), "{program}: {said}");
        assert!(said.contains("--allow-eviction"), "{program}: {said}");

        let name = format!("{program}-allowed");
        let allowed = launch(&name).env("ALLOW_EVICTION", "true").spawn().expect("a process");
        eventually!(allowed.quote(), |said| said.contains("listen"));
        assert!(allowed.ended().is_none(), "{}", allowed.quote());
    }
    stack.finish().await;
}
