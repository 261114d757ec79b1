//! NodeResourcesFit's score with the strategy LeastAllocated: the more is free with the pod there, the better.

use super::{Candidate, MAX_SCORE, Normalize, Score, Target};

pub(super) const SCORE: Score = Score { weight: 1, score, normalize: Normalize::Not };

fn score(pod: Candidate<'_>, target: Target<'_>) -> i64 {
    let (all, used, wanted) = (&target.node.allocatable, &target.usage.scored, &pod.load.scored);
    let shares = [
        free(all.milli_cpu, used.milli_cpu.saturating_add(wanted.milli_cpu)),
        free(all.memory_bytes, used.memory_bytes.saturating_add(wanted.memory_bytes)),
    ];
    shares.iter().sum::<i64>() / 2
}

/// The free part of `all`, in hundredths.
fn free(all: i64, used: i64) -> i64 {
    if all <= 0 || used >= all {
        return 0;
    }
    let share = i128::from(all - used.max(0)) * i128::from(MAX_SCORE) / i128::from(all);
    i64::try_from(share).unwrap_or(0)
}
