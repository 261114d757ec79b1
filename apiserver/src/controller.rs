//! A task that looks at some kinds of objects again whenever one of them has changed.
//!
//! What such a task does depends on what there is, never on what has happened: a pass that failed, or that missed a change, is made
//! good by the next.

use std::time::Duration;

use futures::future::select_all;
use tokio::time::{Instant, sleep_until};

use crate::api::{Api, prefix};
use crate::kinds::Kind;
use crate::status::ApiError;

/// Pause after a pass that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest time between two passes, whatever the clocks say.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// When the next pass is due although nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    OnChange,
    After(Duration),
}

impl Again {
    /// Whichever is earlier.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::OnChange, other) | (other, Self::OnChange) => other,
            (Self::After(a), Self::After(b)) => Self::After(a.min(b)),
        }
    }

    fn wait(self) -> Duration {
        match self {
            Self::OnChange => LONGEST,
            Self::After(wait) => wait.min(LONGEST),
        }
    }
}

/// Makes passes until the server stops: at once, after each change of a kind, and when the pass before has said. Changes during a pass
/// lead to one further pass.
pub(crate) async fn run<F>(api: &Api, what: &str, kinds: &[&Kind], pass: impl Fn() -> F)
where
    F: Future<Output = Result<Again, ApiError>>,
{
    let mut changes: Vec<_> = kinds.iter().map(|kind| api.cache.changes(&prefix(kind, ""))).collect();
    loop {
        for change in &mut changes {
            change.mark_unchanged();
        }
        let wait = match pass().await {
            Ok(again) => again.wait(),
            Err(error) => {
                tracing::warn!(%error, "{what}: tried again");
                RETRY_AFTER
            }
        };
        let due = Instant::now() + wait;
        let changed = select_all(changes.iter_mut().map(|change| Box::pin(change.changed())));
        tokio::select! {
            // All are cancel-safe: a pass looks at everything anyway.
            biased;
            () = api.stop.cancelled() => return,
            (outcome, ..) = changed => {
                // The cache lives as long as the API.
                if outcome.is_err() {
                    return;
                }
            }
            () = sleep_until(due) => {}
        }
    }
}

#[cfg(test)]
mod tests;
