//! The hour of a token.

use std::time::Duration;

/// How long an hour of a token lasts: 3600 seconds, unless somebody tries what happens at its end.
#[derive(Clone, Copy, Debug)]
pub struct TokenHour(pub Duration);

impl TokenHour {
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// How long this number of hours lasts.
    pub fn times(self, hours: i32) -> chrono::Duration {
        let ms = i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX);
        chrono::Duration::milliseconds(ms.saturating_mul(hours.into()))
    }
}
