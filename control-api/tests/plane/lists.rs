//! What lists cost: as much on tables that have grown as on small ones, by Postgres' own account of
//! how it ran each query.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use testbed::{
    clients::http::Ask,
    eventually,
    people::User,
    servers::{postgres::Database, redis::Redis},
};

use crate::harness::Control;

/// Far more rows than a list may read.
const ROWS: u32 = 100_000;
/// The most rows that one query of a list may read: what it counts up to, and as much again.
const LIST_READS: f64 = 20_000.0;
/// The same of the dashboard, which counts further.
const DASHBOARD_READS: f64 = 60_000.0;
/// How often a list is asked for: for its first five times Postgres looks at what is asked, then it
/// may settle on a plan for whatever is.
const CALLED: usize = 12;

/// Postgres' own account of every query of this database from now on, in its log.
async fn explained(database: &Database) -> PathBuf {
    database
        .query(
            "DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET session_preload_libraries = auto_explain', current_database());
                EXECUTE format('ALTER DATABASE %I SET auto_explain.log_min_duration = 0', current_database());
                EXECUTE format('ALTER DATABASE %I SET auto_explain.log_analyze = on', current_database());
                EXECUTE format('ALTER DATABASE %I SET auto_explain.log_timing = off', current_database());
                EXECUTE format('ALTER DATABASE %I SET auto_explain.log_format = json', current_database());
            END $$",
        )
        .await
        .expect("settings");
    let data = PathBuf::from(database.query("SHOW data_directory").await.expect("a folder"));
    data.join("../../postgres.log")
}

/// A year of business: accounts, and the tokens, lines, sessions and acts of one of them and of
/// all.
async fn fill(control: &Control, of: &User) {
    let fill = format!(
        "SET session_replication_role = replica;
        INSERT INTO users (id, email, username, password_hash, referral_code, is_active)
            SELECT gen_random_uuid(), 'user' || n || '@example.com', 'user' || n, '', 'code' || n, n % 100 <> 0
            FROM generate_series(1, {ROWS}) n;
        INSERT INTO access_tokens (id, user_id, token_prefix, scope, duration_hours, cost, activated_at, created_at)
            SELECT gen_random_uuid(), CASE WHEN n % 100 = 0 THEN '{id}' ELSE u.id END, 'prefix', 'full', 24, 18,
                now() - n * interval '10 minutes', now() - n * interval '10 minutes'
            FROM generate_series(1, {ROWS}) n JOIN users u ON u.username = 'user' || n;
        INSERT INTO transactions (id, user_id, seq, amount, balance_after, type, description, created_at)
            SELECT gen_random_uuid(), user_id, 1000 + n, -18, 0, 'purchase', 'x', created_at
            FROM (SELECT user_id, created_at, row_number() OVER () AS n FROM access_tokens) t;
        INSERT INTO proxy_sessions (id, token_id, user_id, device_id, started_at, last_activity, ended_at)
            SELECT gen_random_uuid(), id, user_id, 'd', activated_at, activated_at, activated_at
            FROM access_tokens;
        INSERT INTO audit_logs (id, user_id, action, resource_type, details, created_at)
            SELECT gen_random_uuid(), user_id, 'token_purchase', 'token', '{{}}', now() FROM access_tokens;
        INSERT INTO payments (id, user_id, provider, status, amount_znc, amount_rub, expires_at, settled_at, check_after)
            SELECT gen_random_uuid(), id, 'mock', 'canceled', 1, 1, now(), now(), now() FROM users;
        SET session_replication_role = DEFAULT;
        ANALYZE",
        id = of.id
    );
    control.query(&fill).await;
}

/// The plans in a log, each with its query.
fn plans(log: &str) -> Vec<Value> {
    let after_each = log.split("plan:\n").skip(1);
    let text = after_each.map(|rest| rest.lines().take_while(|line| line.starts_with('\t')).collect::<String>());
    text.map(|plan| serde_json::from_str(&plan).expect("a plan")).collect()
}

/// The nodes of a plan.
fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    std::iter::once(plan).chain(below).collect()
}

/// How many rows of tables and indexes a plan looked at.
fn rows_read(plan: &Value) -> f64 {
    let scans =
        nodes(plan).into_iter().filter(|node| node["Node Type"].as_str().is_some_and(|name| name.contains("Scan")));
    let number = |node: &Value, name: &str| node[name].as_f64().unwrap_or_default();
    let read = |node: &Value| {
        let rows = number(node, "Actual Rows") + number(node, "Rows Removed by Filter");
        (rows + number(node, "Rows Removed by Index Recheck")) * number(node, "Actual Loops")
    };
    scans.map(read).sum()
}

#[tokio::test]
async fn no_list_and_no_dashboard_reads_more_rows_as_tables_grow() {
    let (database, redis) = tokio::try_join!(Database::create(), Redis::start_temporary()).expect("servers");
    let log = explained(&database).await;
    let control = Control::start_on(database, redis, []).await;
    let (admin, alice) = (&control.admin, control.user("alice").await);
    fill(&control, &alice).await;
    let of_alice = format!("/admin/tokens?active_only=false&user_id={}", alice.id);
    let sessions_of_alice = format!("/admin/sessions?active_only=false&user_id={}", alice.id);
    let acts_of_alice = format!("/admin/audit-logs?action=token_purchase&user_id={}", alice.id);
    let lists = [
        (&alice, "/tokens/my-tokens"),
        (&alice, "/tokens/my-tokens?active_only=false"),
        (&alice, "/currency/transactions"),
        (&alice, "/currency/transactions?transaction_type=refund"),
        (&alice, "/users/me/sessions"),
        (&alice, "/users/me/referrals"),
        (&alice, "/bundles/"),
        (admin, "/admin/users"),
        (admin, "/admin/users?search=SER5551"),
        (admin, "/admin/users?is_active=false"),
        (admin, "/admin/tokens"),
        (admin, "/admin/tokens?active_only=false"),
        (admin, &of_alice),
        (admin, "/admin/sessions"),
        (admin, "/admin/sessions?active_only=false"),
        (admin, &sessions_of_alice),
        (admin, "/admin/audit-logs"),
        (admin, "/admin/audit-logs?resource_type=token"),
        (admin, "/admin/audit-logs?resource_type=user"),
        (admin, &acts_of_alice),
    ];
    for (person, path) in lists {
        let read = most_rows_read(&control, &log, person, path).await;
        assert!(read <= LIST_READS, "{read} rows for {path}");
    }
    let read = most_rows_read(&control, &log, admin, "/admin/stats").await;
    assert!(read <= DASHBOARD_READS, "{read} rows");
}

/// How many rows one query read at most while this was asked for, by Postgres' log.
async fn most_rows_read(control: &Control, log: &Path, person: &User, path: &str) -> f64 {
    let before = fs::read_to_string(log).expect("a log").len();
    for _ in 0..CALLED {
        person.get(path).answer().await.expect(200);
    }
    let end = format!("SELECT 'the end of {path}'");
    control.query(&end).await;
    let text = || fs::read_to_string(log).expect("a log")[before..].to_owned();
    let text = eventually!(text(), |text| text.contains(&end));
    let plans = plans(&text);
    assert!(plans.len() > CALLED, "{} plans of {path}", plans.len());
    plans.iter().map(|plan| rows_read(&plan["Plan"])).fold(0.0, f64::max)
}
