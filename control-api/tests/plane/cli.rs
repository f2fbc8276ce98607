//! The program as an operator runs it.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use serde_json::json;
use shared::redis;
use testbed::{
    clients::http::{Ask, client},
    eventually,
    processes::{
        folder::Folder,
        process::{built_program, free_port},
    },
    servers::{postgres::Database, redis::Redis},
};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::harness::{Control, SECRET_KEY};

/// Runs `control-api` with these words, environment and standard input.
async fn run(words: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    run_in(&std::env::temp_dir(), words, environment, input).await
}

async fn run_in(folder: &Path, words: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut command = Command::new(built_program("control-api").expect("the program"));
    command.args(words).env_clear().envs(environment.iter().copied()).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("a process");
    // A program that reads no input may be gone already.
    let _gone = child.stdin.take().expect("a pipe").write_all(input.as_bytes()).await;
    child.wait_with_output().await.expect("an end")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn migrations_go_down_and_up_again() {
    let database = Database::create().await.expect("a database");
    let environment = [("DATABASE_URL", database.url())];
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    let before = database.query(tables).await.expect("a count");
    let steps = stdout(&run(&["migrate", "status"], &environment, "").await).lines().count();
    let down = run(&["migrate", "down", &steps.to_string()], &environment, "").await;
    assert!(down.status.success(), "{}", stderr(&down));
    assert_eq!(database.query(tables).await.expect("a count"), "1", "only the history is left");
    assert!(
        stdout(&run(&["migrate", "status"], &environment, "").await).lines().all(|line| line.starts_with("pending "))
    );

    let (one, two) = tokio::join!(run(&["migrate", "up"], &environment, ""), run(&["migrate", "up"], &environment, ""));
    assert!(one.status.success() && two.status.success(), "{} {}", stderr(&one), stderr(&two));
    assert_eq!(database.query(tables).await.expect("a count"), before);
    assert_eq!(stdout(&one).lines().filter(|line| line.starts_with("applied ")).count(), steps);
}

#[tokio::test]
async fn everything_is_dropped_only_by_who_says_so() {
    let database = Database::create().await.expect("a database");
    let environment = [("DATABASE_URL", database.url())];
    database.query("UPDATE settings SET epoch = 7").await.expect("an update");
    let refused = run(&["migrate", "fresh"], &environment, "").await;
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(database.query("SELECT epoch FROM settings").await.expect("a row"), "7");
    let fresh = run(&["migrate", "fresh", "--yes"], &environment, "").await;
    assert!(fresh.status.success(), "{}", stderr(&fresh));
    assert_eq!(database.query("SELECT epoch FROM settings").await.expect("a row"), "1");
    let debug = [environment[0], ("DEBUG", "true")];
    assert!(run(&["migrate", "fresh"], &debug, "").await.status.success());
}

#[tokio::test]
async fn a_wrong_option_is_named_and_ends_with_2() {
    let good = [
        ("DATABASE_URL", "postgres://u:hidden-password@localhost/d"),
        ("REDIS_URL", "redis://localhost:6379"),
        ("SECRET_KEY", SECRET_KEY),
        ("PUBLIC_ORIGIN", "https://gateway.example"),
    ];
    assert_eq!(run(&["check-config"], &good, "").await.status.code(), Some(0));
    for missing in good.map(|(name, _)| name) {
        let rest: Vec<_> = good.into_iter().filter(|(name, _)| *name != missing).collect();
        let refused = run(&["check-config"], &rest, "").await;
        assert_eq!(refused.status.code(), Some(2), "{missing}");
        assert!(stderr(&refused).contains(missing), "{}", stderr(&refused));
    }
    for (name, wrong) in [
        ("SECRET_KEY", "too short a key"),
        ("SECRET_KEY", "your-secret-key-here-min-32-characters-long"),
        ("DATABASE_URL", "mysql://hidden-password"),
        ("PUBLIC_ORIGIN", "not-an-origin"),
        ("TOKEN_PRICE_24H", "-1"),
        ("PAYMENT_PROVIDER", "mock"),
        ("PAYMENT_PROVIDER", "yookassa"),
        ("CONTROL_LISTEN", "nowhere"),
        ("LOG_LEVEL", "loud=="),
    ] {
        let changed: Vec<_> = good.into_iter().filter(|(given, _)| *given != name).chain([(name, wrong)]).collect();
        let refused = run(&["serve"], &changed, "").await;
        assert_eq!(refused.status.code(), Some(2), "{name}={wrong}: {}", stderr(&refused));
        let named = stderr(&refused).to_uppercase().replace('-', "_");
        assert!(named.contains(name), "{}", stderr(&refused));
        assert!(!stderr(&refused).contains("hidden-password"));
    }
}

#[tokio::test]
async fn a_file_of_settings_that_cannot_be_read_is_not_repeated() {
    let folder = Folder::temporary().expect("a folder");
    std::fs::write(folder.path().join(".env"), "SECRET_KEY=hidden key of 32 characters and more\n").expect("a file");
    let refused = run_in(folder.path(), &["openapi"], &[], "").await;
    assert_eq!((refused.status.code(), stderr(&refused).as_str()), (Some(2), "error: .env cannot be read\n"));
}

#[tokio::test]
async fn an_operator_makes_accounts_and_sets_passwords_by_the_standard_input() {
    let control = Control::start().await;
    let environment = [("DATABASE_URL", control.database.url())];
    let create = ["user", "create", "--email", "op@example.com", "--username", "operator", "--superuser"];
    let created = run(&create, &environment, "first password\n").await;
    assert!(created.status.success(), "{}", stderr(&created));
    let op = control.api.logs_in("op@example.com", "first password").await;
    assert_eq!(stdout(&created).trim(), op.id);
    assert_eq!(control.query("SELECT is_superuser FROM users WHERE username = 'operator'").await, "t");
    assert_eq!(run(&create, &environment, "first password\n").await.status.code(), Some(1));
    assert_eq!(run(&create, &environment, "short\n").await.status.code(), Some(2));

    let set = ["user", "set-password", "--email", "OP@example.com"];
    assert!(run(&set, &environment, "second password\n").await.status.success());
    assert_eq!(control.api.tries_to_log_in("op@example.com", "first password").await.status, 401);
    control.api.logs_in("op@example.com", "second password").await;
    let by_environment = [environment[0], ("USER_PASSWORD", "third password")];
    assert!(run(&set, &by_environment, "").await.status.success());
    control.api.logs_in("op@example.com", "third password").await;
}

#[tokio::test]
async fn the_document_is_printed_without_any_configuration() {
    let printed = run(&["openapi"], &[], "").await;
    assert!(printed.status.success(), "{}", stderr(&printed));
    let document: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(document["openapi"], "3.0.0");
}

#[tokio::test]
async fn after_a_restore_the_operator_bumps_the_epoch_and_what_redis_held_is_replaced() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    control.redis.command(&["HSET", &redis::token_key(token.id), "version", "900", "state", "revoked"]).await.unwrap();
    let bumped = run(&["epoch", "bump"], &[("DATABASE_URL", control.database.url())], "").await;
    assert!(bumped.status.success(), "{}", stderr(&bumped));
    assert!(stdout(&bumped).starts_with("The epoch is 2 now."), "{}", stdout(&bumped));
    eventually!(control.is_live(&token.digest()).await, |live| *live);
}

#[tokio::test]
async fn an_operator_asks_what_a_token_opens() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("30").await;
    let token = alice.buys(24).await;
    let environment = [("DATABASE_URL", control.database.url())];
    let id = token.id.to_string();
    let told = run(&["access", "--token-id", &id, "--method", "POST", "--path", "/a/../b"], &environment, "").await;
    assert!(told.status.success(), "{}", stderr(&told));
    let expected = json!({
        "allowed": false, "reason": "The path contains a dot segment", "scope": "full", "state": "ready"
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stdout(&told)).expect("JSON"), expected);
    let nobody = ["access", "--token-id", "00000000-0000-0000-0000-000000000000", "--path", "/"];
    assert_eq!(run(&nobody, &environment, "").await.status.code(), Some(1));
}

#[tokio::test]
async fn the_program_does_not_serve_on_a_redis_that_may_evict_unless_it_is_told_to() {
    let (database, redis) = tokio::try_join!(Database::create(), Redis::start_temporary()).expect("servers");
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.expect("a reply");
    let good = [
        ("DATABASE_URL", database.url()),
        ("REDIS_URL", &redis.url()),
        ("SECRET_KEY", SECRET_KEY),
        ("PUBLIC_ORIGIN", "https://gateway.example"),
        ("CONTROL_LISTEN", "127.0.0.1:0"),
        ("CONTROL_OPS_LISTEN", "127.0.0.1:0"),
    ];
    let refused = run(&["serve"], &good, "").await;
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let expected = "error: REDIS_URL: Redis may evict keys (maxmemory-policy allkeys-lru); \
        set noeviction, or pass --allow-eviction\n";
    assert!(stderr(&refused).ends_with(expected), "{}", stderr(&refused));
    let control = Control::start_on(database, redis, [("ALLOW_EVICTION", "true")]).await;
    control.api.client().get(control.url("/health")).answer().await.expect(200);
}

#[tokio::test]
async fn a_redis_that_answers_late_and_may_evict_ends_the_program() {
    let (database, redis) = tokio::try_join!(Database::create(), Redis::start_temporary()).expect("servers");
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.expect("a reply");
    redis.pause();
    let ops = format!("127.0.0.1:{}", free_port().expect("a port"));
    let options = [
        ("DATABASE_URL", database.url()),
        ("REDIS_URL", &redis.url()),
        ("SECRET_KEY", SECRET_KEY),
        ("PUBLIC_ORIGIN", "https://gateway.example"),
        ("CONTROL_LISTEN", "127.0.0.1:0"),
        ("CONTROL_OPS_LISTEN", &ops),
    ];
    let http = client().build().expect("a client");
    let (ended, ()) = tokio::join!(run(&["serve"], &options, ""), async {
        let livez = async || http.get(format!("http://{ops}/livez")).send().await.is_ok();
        eventually!(livez().await, |lives| *lives);
        redis.resume();
    });
    assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("maxmemory-policy allkeys-lru"), "{}", stderr(&ended));
}

#[tokio::test]
async fn balances_that_were_there_before_the_ledger_are_its_first_lines() {
    let database = Database::create().await.expect("a database");
    let environment = [("DATABASE_URL", database.url())];
    let status = stdout(&run(&["migrate", "status"], &environment, "").await);
    let from_ledger = status.lines().skip_while(|line| !line.ends_with("_ledger")).count();
    let down = run(&["migrate", "down", &from_ledger.to_string()], &environment, "").await;
    assert!(down.status.success(), "{}", stderr(&down));
    let old = "INSERT INTO users (id, email, username, password_hash, referral_code, balance)
        SELECT gen_random_uuid(), name || '@example.com', name, '', name, balance
        FROM (VALUES ('alice', 482.5), ('bob', 0)) AS old (name, balance)";
    database.query(old).await.expect("users of before");
    let up = run(&["migrate", "up"], &environment, "").await;
    assert!(up.status.success(), "{}", stderr(&up));
    let lines = "SELECT username, amount, balance_after, seq, type FROM transactions JOIN users ON users.id = user_id";
    assert_eq!(database.query(lines).await.expect("lines"), "alice|482.50|482.50|1|adjustment");
    let verified = run(&["ledger", "verify"], &environment, "").await;
    assert!(verified.status.success(), "{}", stderr(&verified));
}
