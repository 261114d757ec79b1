//! The one place where the daemon reads its clocks for the machines.

use std::time::Duration;

use jiff::Timestamp;
use lifecycle::Now;
use nix::time::{ClockId, clock_gettime};

/// Both clocks, read together.
pub(crate) fn now() -> Now {
    Now { boot: boot(), wall: Timestamp::now() }
}

/// Time since boot, suspend included.
pub(crate) fn boot() -> Duration {
    // Linux has had CLOCK_BOOTTIME since 2.6.39; with it missing, zero keeps every deadline in the future.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The tokio instant at which the boot clock shows `at`.
pub(crate) fn instant_of(at: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.saturating_sub(boot())
}
