//! Postgres: one file a table, with its entity and its queries.
//!
//! Reads take any connection; writes take a transaction, and only the rules and the background
//! tasks begin one, so that no endpoint can change anything past the rules.

pub mod access_token;
pub mod audit_log;
pub mod bundle;
pub mod credential;
pub mod idempotency_key;
pub mod outbox;
pub mod password_link;
pub mod payment;
pub mod referral;
pub mod revoked_jwt;
pub mod session;
pub mod settings;
pub mod stats;
pub mod token_list;
pub mod transaction;
pub mod user;

use std::time::{Duration, SystemTime};

use sea_orm::{ConnectOptions, Database, DatabaseBackend, Statement, TransactionTrait, Value};
use shared::{
    net::address::{AddressFilter, Networks},
    process::trace::Span,
};

pub use sea_orm::{
    ConnectionTrait as Connection, DatabaseConnection as Pool, DatabaseTransaction as Tx, DbErr as Error,
};

/// Statements that hang are ended by the server, so that a lost client never keeps a lock. One
/// statement may take so long when it waits for a lock or works, and a transaction may idle so
/// long, which covers a delivery to a Redis that is slow.
const SESSION_LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "15s"), ("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "30s")];

/// How far the rows of a list are counted.
const COUNTED: u64 = 10_000;

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection idle for so long is tried before it is used; trying each time would double every
/// short query.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(5);

/// Opens a pool. It connects when first used, so that the program starts while Postgres is away.
pub async fn connect(url: &str, max_connections: u32) -> Result<Pool, Error> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(max_connections)
        .connect_lazy(true)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire_if_idle_for(TEST_AFTER_IDLE)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(|options| options.options(SESSION_LIMITS));
    let mut pool = Database::connect(options).await?;
    pool.set_metric_callback(tell_statement);
    Ok(pool)
}

/// Tells a statement as part of the work that ran it: its text, in which values are only numbered.
fn tell_statement(statement: &sea_orm::metric::Info<'_>) {
    let work = Span::current();
    if !work.is_told() {
        return;
    }
    let text = &statement.statement.sql;
    let verb = text.split_whitespace().next().unwrap_or_default().to_owned();
    let span = work.question_since(verb, SystemTime::now() - statement.elapsed);
    span.note("db.system.name", "postgresql");
    span.note("db.query.text", text.clone());
    if statement.failed {
        span.failed("failed");
    }
    span.end();
}

/// Opens a pool for migrations, whose statements may take long.
pub async fn connect_for_migrations(url: &str) -> Result<Pool, Error> {
    let mut options = ConnectOptions::new(url);
    // The migrator says what it does; that its own table is there already is no news.
    let quiet = |options: sqlx::postgres::PgConnectOptions| options.options([("client_min_messages", "warning")]);
    options.max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT).sqlx_logging(false).map_sqlx_postgres_opts(quiet);
    Database::connect(options).await
}

/// Begins a transaction.
pub async fn begin(pool: &Pool) -> Result<Tx, Error> {
    pool.begin().await
}

/// The steps of the schema's history that this build needs and the database lacks.
pub async fn pending_migrations(pool: &Pool) -> Result<Vec<String>, Error> {
    let steps = migrations::status(pool).await?;
    Ok(steps.into_iter().filter(|step| !step.is_applied).map(|step| step.name).collect())
}

/// Tries to take an advisory lock until the transaction ends; whether it was free.
pub async fn try_lock(tx: &Tx, lock: i64) -> Result<bool, Error> {
    let row = tx.query_one_raw(sql("SELECT pg_try_advisory_xact_lock($1)", [lock.into()])).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

/// Whether `error` is the violation of the constraint (or unique index) of this name.
pub fn violates(error: &Error, constraint: &str) -> bool {
    let (Error::Exec(runtime) | Error::Query(runtime)) = error else { return false };
    match runtime {
        sea_orm::RuntimeErr::SqlxError(error) => {
            error.as_database_error().and_then(|error| error.constraint()) == Some(constraint)
        }
        sea_orm::RuntimeErr::Internal(_) => false,
    }
}

fn sql<const N: usize>(text: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(DatabaseBackend::Postgres, text, values)
}

/// How many rows a list has, from its table and conditions: counted up to [`COUNTED`], so that no
/// page costs more as tables grow.
async fn count_listed<const N: usize>(db: &impl Connection, listed: &str, values: [Value; N]) -> Result<u64, Error> {
    count_up_to(db, COUNTED, listed, values).await
}

/// How many rows there are, from their table and conditions, of which no more than `most` are
/// looked for.
async fn count_up_to<const N: usize>(
    db: &impl Connection,
    most: u64,
    listed: &str,
    values: [Value; N],
) -> Result<u64, Error> {
    let query = format!("SELECT count(*) FROM (SELECT FROM {listed} LIMIT {most}) counted");
    let counted: i64 = match db.query_one_raw(sql(&query, values)).await? {
        Some(row) => row.try_get_by_index(0)?,
        None => 0,
    };
    Ok(u64::try_from(counted).unwrap_or_default())
}

/// Two lists of networks, as a row has them.
pub fn address_filter(allowed: &[String], denied: &[String]) -> Result<AddressFilter, Error> {
    let networks = |texts: &[String]| {
        Networks::parse(texts.iter().map(String::as_str)).map_err(|error| Error::Type(error.to_string()))
    };
    Ok(AddressFilter { allowed: networks(allowed)?, denied: networks(denied)? })
}

fn as_bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether the failure lies with the connection or with the moment, so that another try may do
/// better: Postgres is away, shutting down, or gave up waiting for a lock.
pub fn is_passing(error: &Error) -> bool {
    let runtime = match error {
        Error::ConnectionAcquire(_) | Error::Conn(_) => return true,
        Error::Exec(runtime) | Error::Query(runtime) => runtime,
        _ => return false,
    };
    let sea_orm::RuntimeErr::SqlxError(error) = runtime else { return false };
    match error.as_database_error().and_then(|error| error.code()) {
        // Classes: connection, resources, operator intervention; then deadlock, serialization, lock
        // not available.
        Some(code) => {
            ["08", "53", "57"].iter().any(|class| code.starts_with(class))
                || ["40P01", "40001", "55P03"].contains(&code.as_ref())
        }
        None => matches!(**error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed),
    }
}
