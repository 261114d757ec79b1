//! How long pods may take to end when the node goes down, as the configuration says (behaviour.md 42.1).

use std::time::Duration;

use lifecycle::ShutdownGroup;

use crate::config::Config;

/// Pods of this priority and above are critical.
const CRITICAL: i32 = 2_000_000_000;

/// The groups of `shutdownGracePeriodByPodPriority`, else the two of `shutdownGracePeriod`; none where the node goes down
/// without waiting for its pods.
pub(crate) fn groups(config: &Config) -> Vec<ShutdownGroup> {
    if !config.gate("GracefulNodeShutdown") {
        return Vec::new();
    }
    let by_priority = &config.shutdown_grace_period_by_pod_priority;
    if !by_priority.is_empty() && config.gate("GracefulNodeShutdownBasedOnPodPriority") {
        let group = |g: &crate::config::PriorityShutdown| ShutdownGroup {
            priority: g.priority,
            period: Duration::from_secs(g.shutdown_grace_period_seconds.max(0).unsigned_abs()),
        };
        return by_priority.iter().map(group).collect();
    }
    let all = config.shutdown_grace_period.to_std();
    let critical = config.shutdown_grace_period_critical_pods.to_std();
    if all.is_zero() {
        return Vec::new();
    }
    vec![
        ShutdownGroup { priority: 0, period: all.saturating_sub(critical) },
        ShutdownGroup { priority: CRITICAL, period: critical },
    ]
}

#[cfg(test)]
mod tests;
