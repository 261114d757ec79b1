//! The time that a decision is made at.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One instant on two clocks. Durations and deadlines use `boot`; `wall` is only for what is published and for reading
/// the runtime's own timestamps, so that a clock that jumps changes no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Time since the machine booted, suspend included (CLOCK_BOOTTIME).
    pub boot: Duration,
    /// Civil time.
    pub wall: Timestamp,
}

impl Now {
    /// The civil time cut to whole seconds, as the API writes it.
    pub(crate) fn wall_seconds(&self) -> Timestamp {
        Timestamp::from_second(self.wall.as_second()).unwrap_or(self.wall)
    }

    /// The boot time of something that happened at `wall_nanos` (nanoseconds since the epoch), never in the future and
    /// never before the boot.
    pub(crate) fn boot_of(&self, wall_nanos: i64) -> Duration {
        let age = self.wall.as_nanosecond().saturating_sub(i128::from(wall_nanos)).max(0);
        let age = Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX));
        self.boot.saturating_sub(age)
    }

    /// The civil time `delay` from now, to the second.
    pub(crate) fn wall_after(&self, delay: Duration) -> Timestamp {
        let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(self.wall.as_second().saturating_add(seconds)).unwrap_or(self.wall)
    }
}
