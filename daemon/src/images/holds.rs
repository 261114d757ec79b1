//! Keeps the starts of containers and the removal of images out of each other's way.
//!
//! A start that has found its image holds it by that for the time until the pod's spec, or a container, shows that it is needed. A removal
//! goes first where it has begun: the start waits for its end and looks again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Holds that are older are forgotten: what was planned before them was carried out long ago.
const KEPT: Duration = Duration::from_secs(3600);

/// Shared by starts and removals; clones share the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    gone: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Boot time of the last start that found an image, by its id.
    held: HashMap<String, Duration>,
    going: HashSet<String>,
}

/// The right to remove an image; starts that need it wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Going {
    holds: Holds,
    id: String,
}

impl Holds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A start has found the image at the boot time `now` and needs it; `false` where it is being removed.
    pub(super) fn hold(&self, id: &str, now: Duration) -> bool {
        let mut state = self.state();
        if state.going.contains(id) {
            return false;
        }
        state.held.retain(|_, at| now.saturating_sub(*at) < KEPT);
        state.held.insert(id.to_owned(), now);
        true
    }

    /// Waits until nobody removes the image any more. Cancel-safe: it changes nothing.
    pub(super) async fn gone(&self, id: &str) {
        loop {
            let gone = self.0.gone.notified();
            if !self.state().going.contains(id) {
                return;
            }
            gone.await;
        }
    }

    /// The right to remove an image that was found to be needless at the boot time `planned`; none where a start has found it since.
    pub(crate) fn take(&self, id: &str, planned: Duration) -> Option<Going> {
        let mut state = self.state();
        if state.held.get(id).is_some_and(|at| *at >= planned) || !state.going.insert(id.to_owned()) {
            return None;
        }
        Some(Going { holds: self.clone(), id: id.to_owned() })
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.holds.state().going.remove(&self.id);
        self.holds.0.gone.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_image_that_a_start_has_found_since_the_plan_stays() {
        let holds = Holds::default();
        assert!(holds.hold("a", secs(10)));
        assert!(holds.take("a", secs(10)).is_none());
        assert!(holds.take("a", secs(11)).is_some(), "whoever planned later has seen who needs it");
        assert!(holds.take("b", secs(10)).is_some());
    }

    #[tokio::test]
    async fn a_start_waits_for_the_end_of_a_removal_that_has_begun() {
        let holds = Holds::default();
        let going = holds.take("a", secs(10)).unwrap();
        assert!(!holds.hold("a", secs(11)) && holds.hold("b", secs(11)));
        assert!(holds.take("a", secs(12)).is_none(), "nobody removes it twice");
        let mut wait = Box::pin(holds.gone("a"));
        assert!(poll!(&mut wait).is_pending());
        drop(going);
        wait.await;
        assert!(holds.hold("a", secs(12)));
    }
}
