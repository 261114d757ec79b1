//! The restart and image back-off: first at once, then doubling, forgotten after a quiet time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Delays that double from `initial` to `cap`, counted from the failure itself (behaviour.md 12.1, 13.3).
///
/// The first retry is free: it only opens the entry. A failure that comes more than `quiet` after the last retry was
/// granted starts from the beginning (12.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    entry: Option<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    delay: Duration,
    granted_at: Duration,
}

/// The figures of a back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Curve {
    pub(crate) initial: Duration,
    pub(crate) cap: Duration,
    /// How long after the last grant a failure counts as a first one again.
    pub(crate) quiet: Duration,
}

impl Curve {
    /// Of container restarts, with the node's own maximum (1 s to 300 s).
    pub(crate) fn restart(max_period: Duration) -> Self {
        let cap = max_period.clamp(Duration::from_secs(1), Duration::from_secs(300));
        Self { initial: cap.min(Duration::from_secs(10)), cap, quiet: Duration::from_secs(600) }
    }

    /// Of image pulls.
    pub(crate) fn image() -> Self {
        Self {
            initial: Duration::from_secs(10),
            cap: Duration::from_secs(300),
            quiet: Duration::from_secs(600),
        }
    }
}

impl Backoff {
    /// The delay in force and the instant (boot time) from which a retry of what failed at `failed_at` is allowed, or
    /// `None` where it is allowed at once.
    pub(crate) fn held_until(&self, curve: Curve, failed_at: Duration) -> Option<(Duration, Duration)> {
        let entry = self.entry.as_ref()?;
        if failed_at.saturating_sub(entry.granted_at) > curve.quiet {
            return None;
        }
        Some((entry.delay, failed_at + entry.delay))
    }

    /// Notes that a retry of what failed at `failed_at` was granted at `now`.
    pub(crate) fn granted(&mut self, curve: Curve, failed_at: Duration, now: Duration) {
        let delay = match &self.entry {
            Some(entry) if failed_at.saturating_sub(entry.granted_at) <= curve.quiet => {
                (entry.delay * 2).min(curve.cap)
            }
            _ => curve.initial,
        };
        self.entry = Some(Entry { delay, granted_at: now });
    }

    /// Forgets every failure.
    pub(crate) fn reset(&mut self) {
        self.entry = None;
    }
}

#[cfg(test)]
mod tests;
