//! From what pods ask for to what cgroup v2 is told: pure conversions and names.
//!
//! The drivers that write them, accounting and events come with the node's own test bed; see `SPECIFICATION.md`.
#![forbid(unsafe_code)]

mod cpu;
mod names;

pub use cpu::{DEFAULT_CPU_PERIOD_US, MAX_CPU_SHARES, MIN_CPU_SHARES, cpu_quota_us, cpu_shares, cpu_weight};
pub use names::{Driver, Tier, pod_cgroup, tier_cgroup};
