//! Pods that wait for a node, and when each is to be tried.
//!
//! ```text
//!               try                    nothing fits               cluster changes
//!   Active ──────────────> Trying ──────────────────> Parked ───────────────────────┐
//!     ^                      │ failed for a while                  flush after 5 min│
//!     │   back-off is over   v                                                      v
//!     └─────────────────── Backoff <────────── back-off still runs ─────────── (moved)
//!     ^                                                                             │
//!     └───────────────────────────────────── back-off is over ──────────────────────┘
//! ```
//!
//! Pure: times are durations on one clock of the caller's.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// After the first try that failed; doubled by each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MOST_BACKOFF: Duration = Duration::from_secs(10);
/// A parked pod is tried again after this, should a change have been overlooked.
pub(crate) const FLUSH: Duration = Duration::from_secs(300);

/// Higher priority first, then the older pod, then the one that came first.
type Order = (Reverse<i32>, i64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    /// Taken out; the number of moves at that time tells whether the cluster changed since.
    Trying {
        moves: u64,
    },
    Backoff {
        until: Duration,
    },
    Parked {
        until: Duration,
    },
}

#[derive(Debug)]
struct Entry {
    order: Order,
    state: State,
    attempts: u32,
    /// When the last try ended.
    ended: Duration,
}

impl Entry {
    fn backoff_ends(&self) -> Duration {
        match self.attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self.ended + MOST_BACKOFF.min(FIRST_BACKOFF * (1 << doublings.min(8))),
        }
    }
}

/// See the module's page.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: HashMap<Arc<str>, Entry>,
    active: BTreeSet<(Order, Arc<str>)>,
    /// Backoff and Parked, by the time at which they end.
    timed: BTreeSet<(Duration, Arc<str>)>,
    arrivals: u64,
    moves: u64,
}

impl Queue {
    /// A pod that is not there yet becomes active; one that is there stays as it is.
    pub(crate) fn add(&mut self, uid: &Arc<str>, priority: i32, created: i64) {
        if self.entries.contains_key(uid) {
            return;
        }
        self.arrivals += 1;
        let order = (Reverse(priority), created, self.arrivals);
        self.entries
            .insert(uid.clone(), Entry { order, state: State::Active, attempts: 0, ended: Duration::ZERO });
        self.active.insert((order, uid.clone()));
    }

    /// Forgets a pod, in whatever state.
    pub(crate) fn remove(&mut self, uid: &Arc<str>) {
        self.leave(uid);
        self.entries.remove(uid);
    }

    /// The next pod to try.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Arc<str>> {
        while let Some((until, uid)) = self.timed.first().filter(|(until, _)| *until <= now).cloned() {
            self.timed.remove(&(until, uid.clone()));
            self.activate(&uid);
        }
        let (_, uid) = self.active.pop_first()?;
        let moves = self.moves;
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.state = State::Trying { moves };
            entry.attempts = entry.attempts.saturating_add(1);
        }
        Some(uid)
    }

    /// The try found no node: wait until the cluster changes, or no longer than the back-off if it did meanwhile.
    pub(crate) fn park(&mut self, uid: &Arc<str>, now: Duration) {
        let moves = self.moves;
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let State::Trying { moves: before } = entry.state else { return };
        entry.ended = now;
        if before == moves {
            self.set_timed(uid, |_| State::Parked { until: now + FLUSH });
        } else {
            self.back_off_from(uid);
        }
    }

    /// The try failed for a reason that passes by itself.
    pub(crate) fn back_off(&mut self, uid: &Arc<str>, now: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.ended = now;
        self.leave(uid);
        self.back_off_from(uid);
    }

    /// The cluster changed so that parked pods may fit.
    pub(crate) fn move_all(&mut self, now: Duration) {
        self.moves += 1;
        let parked: Vec<Arc<str>> = self
            .timed
            .iter()
            .filter(|(_, uid)| {
                matches!(self.entries.get(uid), Some(Entry { state: State::Parked { .. }, .. }))
            })
            .map(|(_, uid)| uid.clone())
            .collect();
        for uid in parked {
            self.move_one(&uid, now);
        }
    }

    /// This pod changed so that it may fit; one that is being tried is tried again.
    pub(crate) fn touch(&mut self, uid: &Arc<str>, priority: i32, now: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let order = (Reverse(priority), entry.order.1, entry.order.2);
        let active = entry.state == State::Active;
        if active {
            self.active.remove(&(entry.order, uid.clone()));
        }
        entry.order = order;
        match &mut entry.state {
            State::Active => {
                self.active.insert((order, uid.clone()));
            }
            // As if the cluster had changed since the try began.
            State::Trying { moves } => *moves = u64::MAX,
            State::Backoff { .. } => {}
            State::Parked { .. } => self.move_one(uid, now),
        }
    }

    /// When a pod becomes active by itself.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.timed.first().map(|(until, _)| *until)
    }

    /// Whether any pod is ready to be tried.
    pub(crate) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    fn move_one(&mut self, uid: &Arc<str>, now: Duration) {
        let Some(entry) = self.entries.get(uid) else { return };
        let over = entry.backoff_ends() <= now;
        self.leave(uid);
        if over {
            self.activate(uid);
        } else {
            self.back_off_from(uid);
        }
    }

    fn back_off_from(&mut self, uid: &Arc<str>) {
        self.set_timed(uid, |entry| State::Backoff { until: entry.backoff_ends() });
    }

    fn set_timed(&mut self, uid: &Arc<str>, state: impl FnOnce(&Entry) -> State) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.state = state(entry);
        if let State::Backoff { until } | State::Parked { until } = entry.state {
            self.timed.insert((until, uid.clone()));
        }
    }

    fn activate(&mut self, uid: &Arc<str>) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.state = State::Active;
        self.active.insert((entry.order, uid.clone()));
    }

    /// Takes the pod out of the index that its state puts it in.
    fn leave(&mut self, uid: &Arc<str>) {
        match self.entries.get(uid).map(|entry| (entry.state, entry.order)) {
            Some((State::Active, order)) => {
                self.active.remove(&(order, uid.clone()));
            }
            Some((State::Backoff { until } | State::Parked { until }, _)) => {
                self.timed.remove(&(until, uid.clone()));
            }
            Some((State::Trying { .. }, _)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests;
