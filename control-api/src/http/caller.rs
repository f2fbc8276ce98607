//! Who a request is from.

use std::sync::OnceLock;

use uuid::Uuid;

/// Who a request turns out to be from, for the access line.
#[derive(Debug, Default)]
pub struct RequestUser(OnceLock<Uuid>);

impl RequestUser {
    pub fn user_id(&self) -> Option<Uuid> {
        self.0.get().copied()
    }

    pub fn note(&self, user_id: Uuid) {
        self.0.get_or_init(|| user_id);
    }
}
