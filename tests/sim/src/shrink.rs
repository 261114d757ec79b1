//! The smallest run that still fails in the same way.

use std::time::Duration;

use crate::faults::FaultKind;
use crate::scenario::Scenario;
use crate::{Failed, run};

/// Runs that are tried at most.
const TRIES: usize = 400;

/// Leaves out of `scenario`, which fails with `invariant`, whatever it fails without: kinds of faults, pods, deeds, time.
/// Gives the smallest run found, and its failure with a timeline.
pub fn shrink(scenario: &Scenario, invariant: &str) -> (Scenario, Option<Box<Failed>>) {
    let mut best = scenario.clone();
    let mut tries = 0;
    let mut fails = |candidate: &Scenario| {
        tries += 1;
        tries <= TRIES && matches!(run(candidate, false), Err(failed) if failed.broken.invariant == invariant)
    };
    loop {
        let before = best.clone();
        for candidate in smaller(&best) {
            // Several may be left out in one pass, each on top of those before.
            let merged = merge(&best, &candidate, &before);
            if merged != best && fails(&merged) {
                best = merged;
            }
        }
        if best == before {
            break;
        }
    }
    let failed = run(&best, true).err();
    (best, failed)
}

/// Each without one thing more.
fn smaller(of: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let workload = of.workload();
    for pod in workload.pods.iter().filter(|p| !of.without_pods.contains(&p.key)) {
        let mut next = of.clone();
        next.without_pods.push(pod.key);
        all.push(next);
    }
    for kind in FaultKind::ALL.into_iter().filter(|kind| of.faults.has(*kind)) {
        all.push(Scenario { faults: of.faults.without(kind), ..of.clone() });
    }
    for (index, deed) in workload.deeds.iter().enumerate().rev() {
        if of.wants(index, deed.key) {
            let mut next = of.clone();
            next.without_deeds.push(index);
            all.push(next);
        }
    }
    for part in [2, 4] {
        let shorter = Duration::from_secs(of.faults_until.as_secs() * (part - 1) / part);
        if shorter < of.faults_until {
            all.push(Scenario { faults_until: shorter, ..of.clone() });
        }
    }
    all
}

/// `best` without what `candidate` leaves out beyond `before`.
fn merge(best: &Scenario, candidate: &Scenario, before: &Scenario) -> Scenario {
    let mut merged = best.clone();
    merged.without_pods.extend(candidate.without_pods.iter().filter(|p| !best.without_pods.contains(p)));
    merged.without_deeds.extend(candidate.without_deeds.iter().filter(|d| !best.without_deeds.contains(d)));
    for kind in FaultKind::ALL {
        if before.faults.has(kind) && !candidate.faults.has(kind) {
            merged.faults = merged.faults.without(kind);
        }
    }
    merged.faults_until = merged.faults_until.min(candidate.faults_until);
    merged
}
