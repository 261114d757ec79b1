//! NodeResourcesBalancedAllocation: processor and memory should be used to the same share.

use super::{Candidate, MAX_SCORE, Normalize, Score, Target};

pub(super) const SCORE: Score = Score { weight: 1, score, normalize: Normalize::Not };

fn score(pod: Candidate<'_>, target: Target<'_>) -> i64 {
    let (all, used, wanted) = (&target.node.allocatable, &target.usage.requests, &pod.load.requests);
    let cpu = share(all.milli_cpu, used.milli_cpu.saturating_add(wanted.milli_cpu));
    let memory = share(all.memory_bytes, used.memory_bytes.saturating_add(wanted.memory_bytes));
    // The standard deviation of two values is half their distance.
    ((1.0 - (cpu - memory).abs() / 2.0) * MAX_SCORE as f64) as i64
}

/// The used part of `all`, 0 to 1.
fn share(all: i64, used: i64) -> f64 {
    if all <= 0 { 1.0 } else { (used as f64 / all as f64).clamp(0.0, 1.0) }
}
