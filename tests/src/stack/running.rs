//! A gateway that runs: what a test has in its hands, and what must hold when it ends.

use std::{fs, path::Path, sync::Arc};

use shared::token::scope::Scope;

use super::issuer::Issuer;
use crate::{
    eventually,
    people::{ControlApi, Edge, NewUser, Token, User},
    processes::{fault_link::Link, folder::Folder, programs::Plane, secrets::Secrets},
    servers::{postgres::Database, redis::Redis},
    upstreams::standin::Standin,
};

/// A running gateway, and what issues its tokens. End a test with `finish`, which checks what must
/// hold after any test.
#[derive(Debug)]
pub struct Stack<C = Control> {
    pub control: C,
    pub edges: Vec<Edge>,
    pub edge_planes: Vec<Plane>,
    pub standin: Standin,
    pub redis: Redis,
    /// Between the first edge and Redis, if it was planned.
    pub link: Option<Link>,
    pub secrets: Secrets,
    /// Statuses of 500 and above that the test has provoked.
    pub(super) announced: Vec<u16>,
    pub(super) folder: Folder,
}

/// Edges alone: no control plane and no Postgres.
pub type EdgeStack = Stack<Issuer>;

/// The control plane of a stack.
#[derive(Debug)]
pub struct Control {
    pub plane: Plane,
    pub api: ControlApi,
    /// A superuser.
    pub admin: Arc<User>,
    pub database: Database,
}

impl Control {
    /// Somebody who registers when awaited.
    pub fn user(&self, name: &str) -> NewUser {
        self.api.new_user(name, &self.admin)
    }
}

impl Stack {
    /// Starts another control plane, set up as the first, beside it.
    pub async fn second_control_plane(&self) -> Plane {
        let second = self.control.plane.replica("control-api-2", self.folder.path()).await;
        second.unwrap_or_else(|error| panic!("no second control plane: {error:?}"))
    }

    /// Ends the test: everything published, every program stopping gracefully, no panic, no
    /// unannounced `5xx` and no secret in any log.
    pub async fn finish(mut self) {
        let Control { plane, database, .. } = &mut self.control;
        if plane.process().ended().is_none() && self.redis.process().is_some() {
            eventually!(database.query("SELECT count(*) FROM outbox").await.expect("a count"), |left| left == "0");
        }
        stop_all(self.edge_planes.iter_mut().chain([plane])).await;
        self.check_logs(self.control.plane.process().log());
    }
}

impl EdgeStack {
    /// A token of 24 hours that opens everything.
    pub async fn token(&self) -> Token {
        self.token_of(Scope::Full).await
    }

    /// `count` of them.
    pub async fn tokens(&self, count: usize) -> Vec<Token> {
        let mut tokens = Vec::new();
        for _ in 0..count {
            tokens.push(self.token().await);
        }
        tokens
    }

    /// A token of 24 hours that opens what its scope opens.
    pub async fn token_of(&self, scope: Scope) -> Token {
        let token = self.control.issues(&self.redis, scope).await;
        self.secrets.remember("token", &token.text);
        token
    }

    /// Revokes a token; every edge is told.
    pub async fn revoke(&self, token: &Token) {
        self.control.revokes(&self.redis, token).await;
    }

    /// Ends the test: every edge stopping gracefully, no panic, no unannounced `5xx` and no secret
    /// in any log.
    pub async fn finish(mut self) {
        stop_all(self.edge_planes.iter_mut()).await;
        self.check_logs(self.edge_planes[0].process().log());
    }
}

impl<C> Stack<C> {
    /// The working folder of every program.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The first edge.
    pub fn edge(&self) -> &Edge {
        &self.edges[0]
    }

    /// Allows answers of this status, 500 or above, in this test.
    pub fn announce(&mut self, status: u16) {
        self.announced.push(status);
    }

    /// Waits until every edge may call an unknown token bad. Right after its start it cannot know
    /// yet, and answers `503`, which this announces.
    pub async fn settle(&mut self) {
        self.announce(503);
        for edge in &self.edges {
            eventually!(edge.token_status(&Token::stranger()).await, |status| *status == 401);
        }
    }

    /// Checks every log. `requests` is the one that must tell of a request, or nothing was
    /// searched.
    fn check_logs(&self, requests: &Path) {
        let log = fs::read_to_string(requests).expect("a log");
        assert!(log.contains("status="), "no access line in the log: nothing below would be found");
        let mut faults = Vec::new();
        let logs = fs::read_dir(self.folder.path()).expect("the test's folder").flatten().map(|entry| entry.path());
        for log in logs.chain([self.redis.log()]) {
            faults.extend(self.secrets.found_in(&log));
            let text = fs::read_to_string(&log).unwrap_or_default();
            let is_fault = |line: &&str| line.contains("panicked at") || self.is_unannounced(line);
            faults.extend(text.lines().filter(is_fault).map(|line| format!("{}: {line}", log.display())));
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// Whether an access line tells of a server error that the test has not provoked.
    fn is_unannounced(&self, line: &str) -> bool {
        let statuses = line.match_indices("status=").map(|(at, key)| &line[at + key.len()..]);
        let codes = statuses.filter_map(|rest| rest.get(..3)?.parse::<u16>().ok());
        codes.into_iter().any(|code| code >= 500 && !self.announced.contains(&code))
    }
}

/// Stops the programs that run, as an init system does.
async fn stop_all(planes: impl Iterator<Item = &mut Plane>) {
    for plane in planes.filter(|plane| plane.process().ended().is_none()) {
        let status = plane.stop().await.expect("a graceful stop");
        assert!(status.success(), "{} ended with {status}\n{}", plane.process().name(), plane.process().quote());
    }
}
