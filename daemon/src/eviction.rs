//! A node that runs short of memory, disk or process ids: measured, told as conditions, and relieved (behaviour.md 29, 30).
//!
//! ```text
//!   the kernel's own word ─────────┐                      ┌─> conditions: node writer, admission
//!   the next look is due ──────────┼─> one task ──────────┼─> reclaim: garbage collection
//!   the victim has ended ──────────┤   eviction::Machine  ├─> usage of pods, when one has to be chosen
//!   usage, reclaimed ──────────────┘                      └─> end of a pod: supervisor; event, series
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `settings` | the configuration in the terms of the crate `eviction` |
//! | `observer` | one measurement of the node |
//! | `candidates` | the pods that may go, with what they use |
//! | `word` | what the kernel tells by itself: stalls, and the pods' limit |
//! | `watcher` | the task: when to look, and what the machine wants done |
//!
//! What is decided is decided in the crate. Far from every threshold there is a look of a few reads each ten seconds; what pods use
//! is asked only when one has to go, or has limits of local storage. Nothing survives a restart: it is measured anew.

mod candidates;
mod observer;
mod settings;
mod watcher;
mod word;

pub(crate) use observer::Place;
pub(crate) use watcher::{Hands, Watcher};

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::usage::{PodUsage, Usage};

/// Whose disk is counted, beside what pods use of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// What was counted last is told.
    Nobodys,
    /// Everybody's that was counted longer ago than that.
    Everybodys(Duration),
    /// That of these pods, by UID, now.
    Theirs(BTreeSet<String>),
}

/// Who knows what pods use.
pub(crate) trait Uses: Send + Sync + fmt::Debug {
    /// What every pod uses now.
    fn pods(&self, count: Count) -> BoxFuture<'static, Arc<Vec<PodUsage>>>;
}

impl Uses for Usage {
    fn pods(&self, count: Count) -> BoxFuture<'static, Arc<Vec<PodUsage>>> {
        let usage = self.clone();
        Box::pin(async move {
            match count {
                Count::Nobodys => usage.pods(Duration::ZERO).await,
                Count::Everybodys(age) => usage.pods_and_disk(Duration::ZERO, age, None).await,
                Count::Theirs(uids) => usage.pods_and_disk(Duration::ZERO, Duration::ZERO, Some(&uids)).await,
            }
        })
    }
}

/// The node ends a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) uid: String,
    /// `status.message`, and what `nodelet explain` tells.
    pub(crate) message: String,
    /// The longest grace that it gets.
    pub(crate) grace: Duration,
    /// Whether it ends for others' sake.
    pub(crate) disrupts: bool,
}

/// `status.reason`, and the event's.
pub(crate) const REASON: &str = "Evicted";
/// Ends that may wait for the supervisor.
pub(crate) const ENDING_QUEUE: usize = 64;
