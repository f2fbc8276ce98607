//! Questions that are on their way to Redis, so that those who ask the same at the same time share
//! one answer.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use shared::token::scope::Scope;
use tokio::sync::OnceCell;

use crate::{
    grants::{
        evaluate::GrantError,
        live::{GrantKey, LiveGrant},
    },
    sync::{Mutex, MutexGuard},
};

pub type LookupResult = Result<Arc<LiveGrant>, GrantError>;

/// What is asked: the credential on its device, the scopes that open the path, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    pub key: GrantKey,
    pub scopes: Vec<Scope>,
    pub address: Option<IpAddr>,
}

/// The questions that somebody waits for.
#[derive(Debug, Default)]
pub struct SingleFlight(Mutex<HashMap<Query, Arc<OnceCell<LookupResult>>>>);

/// One caller's part in a question that is on its way.
pub struct Flight<'a> {
    flights: &'a SingleFlight,
    pub question: Query,
    pub outcome: Arc<OnceCell<LookupResult>>,
}

impl SingleFlight {
    /// Joins a question that is on its way, or begins it.
    pub fn join(&self, question: Query) -> Flight<'_> {
        let outcome = Arc::clone(self.lock().entry(question.clone()).or_default());
        Flight { flights: self, question, outcome }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Query, Arc<OnceCell<LookupResult>>>> {
        self.0.lock()
    }
}

impl Drop for Flight<'_> {
    /// Ends the question once it is answered, so that the next caller asks anew, or once nobody
    /// waits for it any more.
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        let stands = flights.get(&self.question).is_some_and(|standing| Arc::ptr_eq(standing, &self.outcome));
        // One is ours, one the map's.
        let is_last = Arc::strong_count(&self.outcome) == 2;
        if stands && (is_last || self.outcome.initialized()) {
            flights.remove(&self.question);
        }
    }
}
