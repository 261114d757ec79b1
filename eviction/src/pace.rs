//! When the node is worth another look.
//!
//! Nothing grows faster than [`fastest`] says. So long as more is left than can be used up until the next look, that look need not be
//! sooner: far from every threshold that is [`SLOWEST`], and right above one it is [`quickest`]. The kernel's word that work
//! waits for memory comes on top of that.

use std::time::Duration;

use crate::observation::Observation;
use crate::signal::{Resource, Signal};
use crate::threshold::Threshold;

/// The longest time between two looks: a kubelet's.
pub const SLOWEST: Duration = Duration::from_secs(10);

/// While a threshold is met it is looked at so often whether it still is; what is done meanwhile has ends of its own.
const MET: Duration = Duration::from_secs(1);

/// The shortest.
fn quickest(signal: Signal) -> Duration {
    match signal.resource() {
        Resource::Memory => Duration::from_millis(100),
        Resource::Storage | Resource::Inodes | Resource::Pids => Duration::from_secs(1),
    }
}

/// How much may be gone in a second.
fn fastest(signal: Signal, capacity: u64) -> u64 {
    match signal.resource() {
        // What a machine can touch of fresh memory grows with it.
        Resource::Memory if signal == Signal::MemoryUnstalled => capacity / 10,
        Resource::Memory => (capacity / 10).max(256 << 20),
        // What the fastest disks take, and what processes that do nothing else reach.
        Resource::Storage => 4 << 30,
        Resource::Inodes => 200_000,
        Resource::Pids => 50_000,
    }
}

/// How long the next look may wait.
pub(crate) fn until_next_look(thresholds: &[Threshold], observation: &Observation) -> Duration {
    let waits = thresholds.iter().filter_map(|threshold| {
        let left = observation.left.get(&threshold.signal)?;
        if threshold.is_met(*left, false) {
            return Some(MET);
        }
        let margin = left.available.saturating_sub(threshold.demand(left.capacity, false));
        let rate = fastest(threshold.signal, left.capacity).max(1);
        let wait = Duration::from_secs_f64((margin as f64 / rate as f64).min(SLOWEST.as_secs_f64()));
        Some(wait.max(quickest(threshold.signal)))
    });
    waits.min().unwrap_or(SLOWEST).min(SLOWEST)
}

#[cfg(test)]
mod tests;
