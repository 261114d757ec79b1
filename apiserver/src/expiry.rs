//! Events are kept for an hour after their last write.
//!
//! There are no leases in the store: this task notes the revision of the cache every minute, and what was last written at or before
//! the revision that it noted an hour ago is too old. After a restart the hour begins anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api::{Api, prefix};
use crate::kinds::events::EVENTS;
use crate::store::WriteError;

const KEPT: Duration = Duration::from_secs(60 * 60);
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The revisions of the past hour, oldest first.
#[derive(Debug, Default)]
struct Marks(VecDeque<(Instant, u64)>);

impl Marks {
    /// Notes the present revision, and gives the latest that is `KEPT` old, if there is one.
    fn note(&mut self, now: Instant, revision: u64) -> Option<u64> {
        self.0.push_back((now, revision));
        let mut expired = None;
        while let Some((at, revision)) = self.0.front()
            && now.duration_since(*at) >= KEPT
        {
            expired = Some(*revision);
            self.0.pop_front();
        }
        expired
    }
}

/// Removes old events, until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut marks = Marks::default();
    loop {
        tokio::select! {
            // Both are cancel-safe.
            biased;
            () = api.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(expired) = marks.note(Instant::now(), api.cache.revision()) else { continue };
        let old = api.cache.list_cached(&prefix(&EVENTS, "")).into_iter().filter(|e| e.revision() <= expired);
        for event in old {
            match api.cache.delete(event.key(), event.revision()).await {
                // Written or removed meanwhile.
                Ok(_) | Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, "removing an old event");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
