//! Counts open requests of a grant and decides when its lease is released.

use shared::redis::replies::Lease;

use crate::{
    grants::release::AdmissionGuard,
    sync::{Mutex, MutexGuard},
};

/// What holds a grant now, and held it.
#[derive(Debug)]
pub struct LeaseUse {
    has_lease: bool,
    /// The lease is tentative until a request reaches the upstream.
    is_tentative: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: u32,
    /// A request has reached the upstream, so that the lease stays.
    has_reached: bool,
    /// The lease was released: no request may begin to use it.
    is_over: bool,
    since_renewal: bool,
    /// Until it is used.
    taken: Option<AdmissionGuard>,
}

/// What is still to be told Redis once a request releases its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// It was the last one that was open.
    pub is_last: bool,
    /// None of those that were open reached the upstream.
    pub releases_lease: bool,
}

impl LeaseUse {
    /// Of a grant with this lease that nobody has used yet; what was `taken` for it is given back
    /// if nobody does.
    pub fn of(lease: Option<&Lease>, taken: Option<AdmissionGuard>) -> Self {
        Self {
            has_lease: lease.is_some(),
            is_tentative: lease.is_some_and(|lease| lease.is_tentative),
            state: Mutex::new(State { taken, ..State::default() }),
        }
    }

    /// Begins a use; `false` if the lease was released meanwhile.
    pub fn enter(&self) -> bool {
        let mut state = self.lock();
        if !state.is_over {
            state.open += 1;
            state.since_renewal = true;
            state.taken.take().into_iter().for_each(AdmissionGuard::ended);
        }
        !state.is_over
    }

    /// Notes that the upstream was reached; `true` if the lease must be told so: the first time, of
    /// one that is tentative.
    pub fn reach(&self) -> bool {
        let is_first = !std::mem::replace(&mut self.lock().has_reached, true);
        is_first && self.is_tentative
    }

    /// Ends a use.
    pub fn leave(&self) -> Released {
        let mut state = self.lock();
        state.open -= 1;
        let is_last = state.open == 0;
        let releases_lease = is_last && self.is_tentative && !state.has_reached;
        state.is_over |= releases_lease;
        Released { is_last, releases_lease }
    }

    /// Whether the lease is known to have been for something: bytes of a request reached the
    /// upstream.
    pub fn has_reached(&self) -> bool {
        self.lock().has_reached || self.has_lease && !self.is_tentative
    }

    /// Whether the lease was released.
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Whether the lease is to last: a request is open on it, or came since it was last renewed.
    pub fn is_wanted(&self) -> bool {
        let state = self.lock();
        state.open > 0 || state.since_renewal && self.has_lease && !state.is_over
    }

    /// Whether a request is open.
    pub fn is_open(&self) -> bool {
        self.lock().open > 0
    }

    /// Takes in that the lease could not be renewed: that is due still.
    pub fn renewal_failed(&self) {
        self.lock().since_renewal = true;
    }

    /// Whether the lease is to be renewed: a request is open on it, or came since this was last
    /// asked.
    pub fn take_due(&self) -> bool {
        let mut state = self.lock();
        self.has_lease && (std::mem::take(&mut state.since_renewal) || state.open > 0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tentative() -> LeaseUse {
        LeaseUse::of(Some(&Lease { session_id: Uuid::nil(), started_at_ms: 0, is_tentative: true }), None)
    }

    #[test]
    fn a_lease_is_let_go_by_the_last_of_those_that_never_reached_the_upstream() {
        let uses = tentative();
        assert!(uses.enter() && uses.enter());
        assert_eq!(uses.leave(), Released { is_last: false, releases_lease: false });
        assert_eq!(uses.leave(), Released { is_last: true, releases_lease: true });
        assert!(!uses.enter(), "it is gone");
    }

    #[test]
    fn a_lease_stays_once_the_upstream_was_reached_and_is_told_so_once() {
        let uses = tentative();
        assert!(uses.enter());
        assert!(uses.reach());
        assert!(!uses.reach());
        assert_eq!(uses.leave(), Released { is_last: true, releases_lease: false });
        assert!(uses.enter());
    }

    #[test]
    fn a_lease_is_renewed_for_what_was_used_since_and_stays_due_where_that_failed() {
        let uses = tentative();
        assert!(!uses.take_due());
        assert!(uses.enter());
        uses.reach();
        uses.leave();
        assert!(uses.take_due());
        assert!(!uses.take_due());
        uses.renewal_failed();
        assert!(uses.is_wanted() && uses.take_due());
    }
}
