//! Whom a critical pod puts out when there is no room for it (behaviour.md 3).
//!
//! As few guaranteed pods as will do beside all others, then as few burstable ones, then as few that were promised
//! nothing. Of a class the pod goes first that comes nearest to what is still missing.

use std::fmt::Write as _;

use podspec::QosClass;

use super::claim::Claim;

/// What a pod is told that is put out.
pub(super) const REASON: &str = "Preempting";
pub(super) const MESSAGE: &str = "Preempted in order to admit critical pod";

/// Resources and how much of each must become free.
pub(super) type Missing = Vec<(String, i64)>;

/// A pod that may have to go.
type Candidate<'a> = (&'a str, &'a Claim);

/// The UIDs of the pods to be put out for `preemptor`, or why that does not help.
pub(super) fn victims<'a>(
    preemptor: &Claim,
    pods: impl Iterator<Item = Candidate<'a>>,
    missing: &Missing,
) -> Result<Vec<String>, String> {
    let mut pods: Vec<Candidate<'a>> = pods.filter(|(_, claim)| may_go(preemptor, claim)).collect();
    // The oldest first: where two are as good, the younger one goes.
    pods.sort_by_key(|(_, claim)| claim.number);
    let of = |qos| pods.iter().copied().filter(|(_, c)| c.qos == qos).collect::<Vec<_>>();
    let (best_effort, burstable, guaranteed) =
        (of(QosClass::BestEffort), of(QosClass::Burstable), of(QosClass::Guaranteed));
    let left = after(missing, &pods);
    if !left.is_empty() {
        return Err(none_found(&left));
    }
    let spared: Vec<Candidate<'a>> = best_effort.iter().chain(&burstable).copied().collect();
    let mut chosen = nearest(guaranteed, after(missing, &spared))?;
    let spared: Vec<Candidate<'a>> = best_effort.iter().chain(&chosen).copied().collect();
    chosen.extend(nearest(burstable, after(missing, &spared))?);
    chosen.extend(nearest(best_effort, after(missing, &chosen))?);
    Ok(chosen.into_iter().rev().map(|(uid, _)| uid.to_owned()).collect())
}

/// Anyone who is not critical; of the critical ones those of less priority, where both have one.
fn may_go(preemptor: &Claim, other: &Claim) -> bool {
    if preemptor.critical && !other.critical {
        return true;
    }
    matches!((preemptor.priority, other.priority), (Some(own), Some(other)) if own > other)
}

/// What is still missing when all of `pods` are gone.
fn after(missing: &Missing, pods: &[Candidate<'_>]) -> Missing {
    let left = |(name, amount): &(String, i64)| {
        let freed = pods.iter().fold(0_i64, |sum, (_, c)| sum.saturating_add(c.request(name)));
        let left = amount.saturating_sub(freed);
        (left > 0).then(|| (name.clone(), left))
    };
    missing.iter().filter_map(left).collect()
}

/// Takes from `pods` those nearest to what is missing until nothing is.
fn nearest<'a>(mut pods: Vec<Candidate<'a>>, mut missing: Missing) -> Result<Vec<Candidate<'a>>, String> {
    let mut chosen = Vec::new();
    while !missing.is_empty() {
        let mut best: Option<(f64, usize)> = None;
        for (at, (_, claim)) in pods.iter().enumerate() {
            let distance = distance(&missing, claim);
            let better = match best {
                None => true,
                Some((least, _)) if distance != least => distance < least,
                Some((_, other)) => size(claim) <= size(pods[other].1),
            };
            if better {
                best = Some((distance, at));
            }
        }
        let Some((_, at)) = best else { return Err(none_found(&missing)) };
        let pod = pods.remove(at);
        missing = after(&missing, &[pod]);
        chosen.push(pod);
    }
    Ok(chosen)
}

/// How far a pod is from freeing all that is missing: each resource counts the same, from 0 to 1.
fn distance(missing: &Missing, claim: &Claim) -> f64 {
    let of = |(name, amount): &(String, i64)| {
        let left = amount.saturating_sub(claim.request(name)).max(0);
        (left as f64 / *amount as f64).powi(2)
    };
    missing.iter().map(of).sum()
}

/// Memory decides, then processors.
fn size(claim: &Claim) -> (i64, i64) {
    (claim.request("memory"), claim.request("cpu"))
}

fn none_found(missing: &Missing) -> String {
    let mut list = String::new();
    for (name, amount) in missing {
        // Writing to a string does not fail.
        let _ = write!(list, "(res: {name}, q: {amount}), ");
    }
    format!("no set of running pods found to reclaim resources: [{list}]")
}

#[cfg(test)]
mod tests;
