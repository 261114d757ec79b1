//! In which order pods go (behaviour.md 29.11 to 29.13).

use std::cmp::Reverse;

use crate::observation::Parts;
use crate::pods::Candidate;
use crate::signal::Resource;

/// What a pod is ranked by, for those who want to know why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Place in the list that was ranked.
    pub index: usize,
    /// What it uses; `None` where that is not known, which makes it go first.
    pub used: Option<u64>,
    /// What it asks for.
    pub request: u64,
    /// Its priority.
    pub priority: i32,
}

impl Ranked {
    /// What it uses beyond what it asks for; below zero where it uses less.
    pub fn excess(&self) -> Option<i128> {
        Some(i128::from(self.used?) - i128::from(self.request))
    }
}

/// All pods, the one that goes first at the front: what is not known first, then who uses more than it asks for, then the lower
/// priority, then the larger excess. Processes are not asked for: there only priority and number count. Pods that are alike in all of
/// this stay in their order.
pub fn rank(pods: &[Candidate], resource: Resource, parts: Parts) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = pods
        .iter()
        .enumerate()
        .map(|(index, pod)| Ranked {
            index,
            used: pod.usage.as_ref().and_then(|usage| usage.of(resource, parts)),
            request: pod.request(resource),
            priority: pod.priority,
        })
        .collect();
    ranked.sort_by_key(|pod| {
        let excess = pod.excess();
        let exceeds = resource != Resource::Pids && excess.is_none_or(|excess| excess > 0);
        let unknown = resource != Resource::Pids && excess.is_none();
        let more = excess.map_or(i128::MAX, |excess| excess);
        (Reverse(unknown), Reverse(exceeds), pod.priority, Reverse(more))
    });
    ranked
}

#[cfg(test)]
pub(crate) mod tests;
