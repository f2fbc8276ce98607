//! Waiting for a state, never for a time.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Generous, so that two busy cores cannot turn a test red.
pub const DEADLINE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// Evaluates an expression, which may await, until the value satisfies the claim, and returns that
/// value; panics with the last one after [`DEADLINE`], or after another `within` which the state
/// may need by design.
///
/// ```ignore
/// let answer = eventually!(edge.get("/").answer().await, |answer| answer.status == 401);
/// ```
#[macro_export]
macro_rules! eventually {
    (within $within:expr; $value:expr, |$name:pat_param| $claim:expr $(,)?) => {
        $crate::eventually::until($within, async || $value, |$name| $claim, stringify!($claim)).await
    };
    ($value:expr, |$name:pat_param| $claim:expr $(,)?) => {
        $crate::eventually!(within $crate::eventually::DEADLINE; $value, |$name| $claim)
    };
}

/// What [`eventually!`] expands to.
#[track_caller]
pub fn until<T: Debug>(
    within: Duration,
    mut value: impl AsyncFnMut() -> T,
    holds: impl Fn(&T) -> bool,
    claim: &'static str,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + within;
        loop {
            let last = value().await;
            if holds(&last) {
                return last;
            }
            assert!(Instant::now() < deadline, "{caller}: not after {within:?}: `{claim}`; the last value: {last:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
