//! One watch: where it starts, what it has seen, and when it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::event::Event;
use super::object::Object;
use super::{Cache, FRESHNESS_TIMEOUT};
use crate::store::ReadError;

/// Items that one call of [`Watcher::next_batch`] returns at most.
const BATCH: usize = 256;

/// What to watch.
#[derive(Debug, Clone)]
pub struct WatchQuery {
    /// `pods/` or `pods/default/`. A single object is watched with a filter on its name.
    pub prefix: String,
    pub start: WatchStart,
    /// How often to send a bookmark, if the client allows them (`allowWatchBookmarks`). Upstream: about every minute.
    pub bookmark_every: Option<Duration>,
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchStart {
    /// The present objects first, as [`WatchItem::Initial`].
    State {
        freshness: Freshness,
        /// Whether [`WatchItem::InitialEnd`] follows them (`sendInitialEvents=true`).
        end_marker: bool,
    },
    /// Changes above a revision (`resourceVersion=N`).
    After(u64),
    /// Changes from now on (`sendInitialEvents=false` without a revision).
    Now,
}

/// How fresh the initial state of a watch has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// No `resourceVersion`: all that was acknowledged before the request.
    Latest,
    /// `resourceVersion=0`.
    Any,
    /// `resourceVersion=N` with `resourceVersionMatch=NotOlderThan`.
    NotOlderThan(u64),
}

/// What a watch has to tell.
#[derive(Debug, Clone)]
pub enum WatchItem {
    /// An object that existed when the watch began; `ADDED` to the client.
    Initial(Arc<Object>),
    /// All initial objects have been told: a bookmark with the annotation `k8s.io/initial-events-end: "true"`.
    InitialEnd {
        revision: u64,
    },
    Event(Arc<Event>),
    /// All events up to this revision have been told.
    Bookmark {
        revision: u64,
    },
}

/// Why a watch did not start.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// 410 Expired.
    #[error("too old resource version: {requested} ({floor})")]
    Expired { requested: u64, floor: u64 },
    /// 504 Timeout with cause `ResourceVersionTooLarge` and `retryAfterSeconds: 1`.
    #[error("Too large resource version: {requested}, current: {current}")]
    TooLarge { requested: u64, current: u64 },
    #[error(transparent)]
    Failed(#[from] ReadError),
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The client took its events too slowly, and the next one is no longer known. An `ERROR` event with a 410 Expired.
    #[error("too old resource version: {position} ({floor})")]
    Expired { position: u64, floor: u64 },
}

/// A running watch. Holds a place in the shared window, no events of its own but the initial ones.
pub struct Watcher {
    cache: Arc<Cache>,
    prefix: String,
    /// All events up to this revision have been returned, once `initial` is empty.
    position: u64,
    initial: vec::IntoIter<Arc<Object>>,
    end_marker: bool,
    wake: watch::Receiver<u64>,
    bookmarks: Option<Interval>,
}

impl Watcher {
    pub(super) async fn start(cache: Arc<Cache>, query: WatchQuery) -> Result<Self, WatchError> {
        let WatchQuery { prefix, start, bookmark_every } = query;
        let at_least = match start {
            WatchStart::State { freshness: Freshness::Any, .. } => 0,
            WatchStart::State { freshness: Freshness::Latest, .. } | WatchStart::Now => {
                cache.catch_up().await?
            }
            WatchStart::State { freshness: Freshness::NotOlderThan(revision), .. }
            | WatchStart::After(revision) => revision,
        };
        cache
            .wait_for(at_least, FRESHNESS_TIMEOUT)
            .await
            .map_err(|current| WatchError::TooLarge { requested: at_least, current })?;

        let wake = cache.state.write().subscribe(&prefix);
        let (position, initial, end_marker) = {
            let state = cache.state.read();
            match start {
                WatchStart::State { end_marker, .. } => {
                    (state.revision(), state.objects(&prefix, None), end_marker)
                }
                WatchStart::Now => (state.revision(), Vec::new(), false),
                WatchStart::After(requested) => {
                    let floor = state.floor(&prefix);
                    if requested < floor {
                        return Err(WatchError::Expired { requested, floor });
                    }
                    (requested, Vec::new(), false)
                }
            }
        };
        let bookmarks = bookmark_every.map(|period| {
            let mut interval = tokio::time::interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Ok(Self { cache, prefix, position, initial: initial.into_iter(), end_marker, wake, bookmarks })
    }

    /// Waits until there is something to tell, and returns it in order: at least one item, and not more than a few hundred.
    ///
    /// Cancel-safe: what is returned is taken after the last await.
    pub async fn next_batch(&mut self) -> Result<Vec<WatchItem>, WatchEnd> {
        loop {
            let batch = self.ready()?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            tokio::select! {
                // Cancel-safe: a change that was seen stays seen, and is looked up in the next round.
                changed = self.wake.changed() => {
                    // The sender lives in the cache, which this watcher holds.
                    changed.expect("the cache outlives its watchers");
                }
                // Cancel-safe: a tick that is not returned comes again.
                () = tick(self.bookmarks.as_mut()) => {
                    let batch = self.ready()?;
                    return Ok(if batch.is_empty() { vec![WatchItem::Bookmark { revision: self.position }] } else { batch });
                }
            }
        }
    }

    /// What can be told without waiting; empty if there is nothing.
    pub fn ready(&mut self) -> Result<Vec<WatchItem>, WatchEnd> {
        let mut batch: Vec<WatchItem> = self.initial.by_ref().take(BATCH).map(WatchItem::Initial).collect();
        if batch.len() == BATCH {
            return Ok(batch);
        }
        if std::mem::take(&mut self.end_marker) {
            batch.push(WatchItem::InitialEnd { revision: self.position });
        }
        // Seen before looking: a change that comes while looking wakes again.
        self.wake.mark_unchanged();
        let pulled = self.cache.state.read().pull(&self.prefix, self.position, BATCH);
        match pulled {
            Ok((events, position)) => {
                self.position = position;
                batch.extend(events.into_iter().map(WatchItem::Event));
                Ok(batch)
            }
            // The initial objects are told first; the next call ends the watch.
            Err(_) if !batch.is_empty() => Ok(batch),
            Err(floor) => Err(WatchEnd::Expired { position: self.position, floor }),
        }
    }

    /// The revision up to which everything has been returned: what a last bookmark before an orderly end says. Only
    /// meaningful when [`Watcher::ready`] has just returned nothing.
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// The next tick of an interval; never, if there is none.
async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("prefix", &self.prefix)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
