//! The schema's history: each step is an `up.sql` and a `down.sql`, because SQL is what the
//! database runs and what people review.
//!
//! sea-orm's migrator takes no lock, so replicas that start at once would trip over each other:
//! every function here runs in one transaction under one advisory lock, and either all of its steps
//! are applied or none.

use std::collections::HashSet;

use sea_orm_migration::{
    prelude::*,
    sea_orm::{DatabaseConnection, DatabaseTransaction, EntityTrait, TransactionTrait},
    seaql_migrations,
};

/// Names the advisory lock that migrations hold: the letters `zenzefi` as bytes.
const LOCK: i64 = 0x7a_656e_7a65_6669;

/// Drops the schema that tables are made in, whatever stands in it, and makes it anew: functions
/// too, which the migrator's own `fresh` leaves behind.
const EMPTY_SCHEMA: &str = "DO $$
DECLARE schema text := current_schema();
BEGIN
    EXECUTE format('DROP SCHEMA %I CASCADE', schema);
    EXECUTE format('CREATE SCHEMA %I', schema);
END
$$";

struct Step {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

macro_rules! step {
    ($name:literal) => {
        Step {
            name: $name,
            up: include_str!(concat!($name, "/up.sql")),
            down: include_str!(concat!($name, "/down.sql")),
        }
    };
}

/// The steps in the order in which they apply. Only ever appended to.
const STEPS: [Step; 13] = [
    step!("m000001_users"),
    step!("m000002_access_tokens"),
    step!("m000003_publishing"),
    step!("m000004_sessions"),
    step!("m000005_ledger"),
    step!("m000006_audit"),
    step!("m000007_idempotency"),
    step!("m000008_bundles"),
    step!("m000009_payments"),
    step!("m000010_lists"),
    step!("m000011_networks"),
    step!("m000012_traces"),
    step!("m000013_ledger_details"),
];

impl MigrationName for Step {
    fn name(&self) -> &str {
        self.name
    }
}

#[expect(elided_lifetimes_in_paths, reason = "the trait's own signatures, expanded by async_trait, elide them too")]
#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, self.up).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, self.down).await
    }
}

/// Runs a step and checks what it wrote, for a later one cannot alter a table whose rows are still
/// to be checked.
async fn run(manager: &SchemaManager<'_>, step: &str) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    connection.execute_unprepared(step).await?;
    connection.execute_unprepared("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED").await.map(drop)
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        STEPS.into_iter().map(|step| Box::new(step) as Box<dyn MigrationTrait>).collect()
    }
}

/// One step and whether the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepStatus {
    pub name: String,
    pub is_applied: bool,
}

/// Applies every pending step.
pub async fn up(db: &DatabaseConnection) -> Result<(), DbErr> {
    let tx = locked(db).await?;
    Migrator::up(&tx, None).await?;
    tx.commit().await
}

/// Takes back the last `steps` applied steps, and the data that only they hold.
pub async fn down(db: &DatabaseConnection, steps: u32) -> Result<(), DbErr> {
    let tx = locked(db).await?;
    Migrator::down(&tx, Some(steps)).await?;
    tx.commit().await
}

/// Drops everything in the schema and applies every step anew.
pub async fn fresh(db: &DatabaseConnection) -> Result<(), DbErr> {
    let tx = locked(db).await?;
    tx.execute_unprepared(EMPTY_SCHEMA).await?;
    Migrator::up(&tx, None).await?;
    tx.commit().await
}

/// Every step of this build in order. What a newer build applied is no fault, for old replicas
/// serve on while it is rolled out; the migrator's own answer would be one. Changes nothing, so
/// that a role without the right to create tables can ask.
pub async fn status(db: &DatabaseConnection) -> Result<Vec<StepStatus>, DbErr> {
    let history = Migrator::migration_table_name().to_string();
    let applied = if SchemaManager::new(db).has_table(history).await? {
        seaql_migrations::Entity::find().all(db).await?
    } else {
        Vec::new()
    };
    let applied: HashSet<String> = applied.into_iter().map(|step| step.version).collect();
    let status = |step: &Step| StepStatus { name: step.name.to_owned(), is_applied: applied.contains(step.name) };
    Ok(STEPS.iter().map(status).collect())
}

async fn locked(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let tx = db.begin().await?;
    tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    Ok(tx)
}
