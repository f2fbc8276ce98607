//! What a transaction did that Redis has not been told of yet.

use uuid::Uuid;

/// The outcome of a transaction that wrote rows of the outbox, for these tokens.
///
/// The relay publishes them in any case. Before a request is answered they are published by
/// [`publish::deliver`](crate::publish::deliver), so that what the answer says is true at the edges
/// too.
#[derive(Debug)]
#[must_use = "what was committed is published by `publish::deliver`, or left to the relay by `later`"]
pub struct Unpublished<T> {
    outcome: T,
    token_ids: Vec<Uuid>,
}

impl<T> Unpublished<T> {
    pub fn new(outcome: T, token_ids: Vec<Uuid>) -> Self {
        Self { outcome, token_ids }
    }

    /// Leaves it to the relay.
    pub fn later(self) -> T {
        self.outcome
    }

    /// The outcome, and the tokens that are to be published.
    pub fn into_parts(self) -> (T, Vec<Uuid>) {
        (self.outcome, self.token_ids)
    }

    /// The same with another outcome.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Unpublished<U> {
        Unpublished { outcome: change(self.outcome), token_ids: self.token_ids }
    }
}
