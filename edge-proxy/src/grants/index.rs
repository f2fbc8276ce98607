//! Every grant of this edge by its token, for the change feed to find.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use uuid::Uuid;

use crate::sync::{Mutex, MutexGuard};

/// Those that only a request still holds are found, too.
#[derive(Debug)]
pub struct Index<T>(Mutex<HashMap<Uuid, Vec<Weak<T>>>>);

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Index<T> {
    /// Called as a grant comes.
    pub fn add(&self, token_id: Uuid, live: &Arc<T>) {
        self.lock().entry(token_id).or_default().push(Arc::downgrade(live));
    }

    /// The grants of a token.
    pub fn of(&self, token_id: Uuid) -> Vec<Arc<T>> {
        self.lock().get(&token_id).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Every grant that is held here.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.lock().values().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Called as a grant goes: drops what is gone.
    pub fn forget(&self, token_id: Uuid) {
        let mut by_token = self.lock();
        if let Some(live) = by_token.get_mut(&token_id) {
            live.retain(|live| live.strong_count() > 0);
            if live.is_empty() {
                by_token.remove(&token_id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Vec<Weak<T>>>> {
        self.0.lock()
    }
}
