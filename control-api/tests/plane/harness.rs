//! One control plane for one test, and the people who use it.

use std::{sync::Arc, time::Duration};

use shared::{
    redis::{
        self,
        calls::{Activate, Admit, Call, LeasePolicy, Mode, Taking},
        replies::{Activation, Lookup},
    },
    token::{credential::Digest, device::Device, scope::Scope},
};
use testbed::{
    people::{ControlApi, NewUser, Token, User},
    processes::{
        folder::Folder,
        process::on_free_ports,
        programs::{Environment, Plane, Program, create_superuser, environment},
        secrets::Secrets,
    },
    servers::{postgres::Database, redis::Redis},
};
use uuid::Uuid;

pub const SECRET_KEY: &str = "kJ8s0dLm2QpXv7RtYw4ZbN6cHf1Ga9Ue";
/// Signs the notices of the mock provider.
pub const WEBHOOK_SECRET: &str = "w8Kd2LqX5mZr1TyV7bNc4HfJ9sGa0PeU";
/// The environment of a control plane that takes payments without taking money.
pub const MOCK_PAYMENTS: [(&str, &str); 3] =
    [("DEBUG", "true"), ("PAYMENT_PROVIDER", "mock"), ("PAYMENT_WEBHOOK_SECRET", WEBHOOK_SECRET)];
pub const PUBLIC_ORIGIN: &str = "https://gateway.example:8443";

/// Names the claim of every request that takes a token here.
pub const CLAIM: Uuid = Uuid::from_u128(1);
/// As edges hold tokens by default.
const LEASES: LeasePolicy = LeasePolicy { lasts: Duration::from_millis(redis::LEASE_MS), is_per_device: false };
const ADMIN_EMAIL: &str = "admin@example.com";
const ADMIN_PASSWORD: &str = "operator's password";

/// A running control plane.
pub struct Control {
    pub plane: Plane,
    pub database: Database,
    pub redis: Redis,
    pub folder: Folder,
    pub api: ControlApi,
    /// A superuser.
    pub admin: Arc<User>,
}

impl Control {
    pub async fn start() -> Self {
        Self::start_with([]).await
    }

    /// Starts one with more in its environment.
    pub async fn start_with<const N: usize>(more: [(&str, &str); N]) -> Self {
        let (database, redis) = tokio::try_join!(Database::create(), Redis::start_temporary()).expect("servers");
        Self::start_on(database, redis, more).await
    }

    /// Starts one on these servers.
    pub async fn start_on<const N: usize>(database: Database, redis: Redis, more: [(&str, &str); N]) -> Self {
        let folder = Folder::temporary().expect("a folder");
        let plane = start_plane("control-api", &folder, &database, &redis, environment(more)).await;
        let variables = environment([("DATABASE_URL", database.url())]);
        create_superuser(ADMIN_EMAIL, ADMIN_PASSWORD, folder.path(), &variables).await.expect("a superuser");
        let api = ControlApi::at(plane.url(), &Secrets::default());
        let admin = Arc::new(api.logs_in(ADMIN_EMAIL, ADMIN_PASSWORD).await);
        Self { plane, database, redis, folder, api, admin }
    }

    /// Starts another replica on the same Postgres and Redis.
    pub async fn replica(&self) -> Plane {
        self.replica_with("control-api-2", []).await
    }

    /// Starts one of this name, with more in its environment.
    pub async fn replica_with<const N: usize>(&self, name: &str, more: [(&str, &str); N]) -> Plane {
        start_plane(name, &self.folder, &self.database, &self.redis, environment(more)).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.plane.url())
    }

    /// Somebody who registers when awaited.
    pub fn user(&self, name: &str) -> NewUser {
        self.api.new_user(name, &self.admin)
    }

    /// What an edge finds for a credential, without asking to use it.
    pub async fn lookup(&self, credential: &Digest) -> Lookup {
        self.admit(credential, Mode::Look).await
    }

    /// Whether an edge would let a credential through.
    pub async fn is_live(&self, credential: &Digest) -> bool {
        matches!(self.lookup(credential).await, Lookup::Live(_))
    }

    /// Admits a request of this device as an edge does: it takes the lease, and claims a token that
    /// is ready.
    pub async fn takes(&self, token: &Token, device: &str) -> Lookup {
        let (session_id, claim) = (Uuid::new_v4(), CLAIM);
        let taking = Taking { device: &Device::known(device), scopes: &Scope::ALL, networks: "", session_id, claim };
        self.admit(&token.digest(), Mode::Take(taking)).await
    }

    async fn admit(&self, credential: &Digest, mode: Mode<'_>) -> Lookup {
        let named = self.redis.command(&["GET", &redis::credential_key(credential)]).await.expect("a reply");
        let Some((token_id, generation)) = redis::parse_credential_value(&named) else { return Lookup::Unknown };
        let reply = self.run(&Admit { token_id, generation, leases: LEASES, mode, build: "" }).await;
        Lookup::parse(token_id, &reply).expect("a reply of the contract's shape")
    }

    /// Starts a token's clock in Redis as an edge does; what it tells of that on the way is lost.
    pub async fn activate(&self, token: &Token) -> Activation {
        let activate = Activate {
            token_id: token.id,
            // None where Redis has lost the token.
            generation: self.field(token, "credential_gen").await.parse().unwrap_or_default(),
            leases: LEASES,
            device: None,
            session_id: None,
            used_at_ms: None,
            traceparent: None,
        };
        let lost = |key: String| {
            if [redis::CHANGES, redis::USAGE].contains(&key.as_str()) { format!("lost:{key}") } else { key }
        };
        let reply = self.redis.call_on(&activate, lost).await.expect("a reply");
        Activation::parse(&reply).expect("a reply of the contract's shape")
    }

    /// Calls a script as the planes do; its reply as texts.
    pub async fn run<C: Call>(&self, call: &C) -> Vec<String> {
        self.redis.call(call).await.expect("a reply")
    }

    /// A field of a token's hash in Redis; empty if it is not there.
    pub async fn field(&self, token: &Token, name: &str) -> String {
        self.redis.command(&["HGET", &redis::token_key(token.id), name]).await.expect("a reply")
    }

    /// How many changes have been appended.
    pub async fn changes(&self) -> u64 {
        self.redis.command(&["XLEN", redis::CHANGES]).await.expect("a reply").parse().expect("a number")
    }

    /// Tells the control plane what an edge saw.
    pub async fn tell(&self, usage: &redis::events::Usage) {
        let told = usage.encode();
        self.redis.command(&["XADD", redis::USAGE, "*", redis::events::FIELD, &told]).await.expect("an entry");
    }

    pub async fn query(&self, statement: &str) -> String {
        self.database.query(statement).await.expect("a result")
    }
}

async fn start_plane(name: &str, folder: &Folder, database: &Database, redis: &Redis, more: Environment) -> Plane {
    let mut variables = environment([
        ("DATABASE_URL", database.url()),
        ("REDIS_URL", &redis.url()),
        ("SECRET_KEY", SECRET_KEY),
        ("PUBLIC_ORIGIN", PUBLIC_ORIGIN),
        ("LOG_LEVEL", "debug"),
        ("REGISTRATIONS_PER_HOUR", "0"),
        ("USER_REQUESTS_PER_MINUTE", "0"),
    ]);
    variables.extend(more);
    let started = on_free_ports(async |ports: [u16; 2]| {
        Plane::start(Program::ControlApi, name, folder.path(), ports, &variables).await
    });
    started.await.expect("a control plane")
}
