//! The extension points that are carried out, and which plugin is asked at each, in upstream's order.
//!
//! *Filter*: may the pod run there? The first plugin that objects speaks for the node. *Score*: how well, 0 to 100, of
//! the nodes that are left. *Bind* has one implementation, in `api.rs`.
//!
//! Upstream's NodeName has no file here: a pod that names its node counts as bound to it and never comes to a filter.

use std::borrow::Cow;

use crate::node::{NodeInfo, Usage};
use crate::pod::{Load, Wish};
use crate::storage::PodVolumes;

mod balanced_allocation;
mod least_allocated;
mod node_affinity;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod taint_toleration;
mod volume_binding;

pub(crate) use node_affinity::matches_term;

/// A pod to place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) wish: &'a Wish,
    pub(crate) load: &'a Load,
    pub(crate) volumes: &'a PodVolumes<'a>,
}

/// A node where it may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) node: &'a NodeInfo,
    pub(crate) usage: &'a Usage,
}

/// Why a pod cannot run on a node, as it is counted in the message.
pub(crate) type Reason = Cow<'static, str>;

/// A plugin of the extension point Filter; no reason means that the pod may run there.
pub(crate) struct Filter {
    pub(crate) name: &'static str,
    pub(crate) filter: fn(Candidate<'_>, Target<'_>) -> Vec<Reason>,
    /// Whether its objection would go if other pods left the node.
    pub(crate) resolvable: fn(Candidate<'_>, Target<'_>) -> bool,
}

/// A plugin of the extension point Score.
pub(crate) struct Score {
    pub(crate) weight: i64,
    pub(crate) score: fn(Candidate<'_>, Target<'_>) -> i64,
    pub(crate) normalize: Normalize,
}

/// How the raw scores of all nodes become 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normalize {
    /// They are so already.
    Not,
    /// The highest is 100.
    ToHighest,
    /// The highest is 0, nothing is 100.
    Reversed,
}

pub(crate) const MAX_SCORE: i64 = 100;

pub(crate) const FILTERS: [Filter; 6] = [
    node_unschedulable::FILTER,
    taint_toleration::FILTER,
    node_affinity::FILTER,
    node_ports::FILTER,
    node_resources_fit::FILTER,
    volume_binding::FILTER,
];

pub(crate) const SCORES: [Score; 4] =
    [taint_toleration::SCORE, node_affinity::SCORE, least_allocated::SCORE, balanced_allocation::SCORE];

impl Normalize {
    pub(crate) fn apply(self, scores: &mut [i64]) {
        let highest = scores.iter().copied().max().unwrap_or(0);
        match self {
            Self::Not => {}
            Self::ToHighest if highest > 0 => {
                scores.iter_mut().for_each(|s| *s = *s * MAX_SCORE / highest);
            }
            Self::ToHighest => {}
            Self::Reversed if highest > 0 => {
                scores.iter_mut().for_each(|s| *s = MAX_SCORE - *s * MAX_SCORE / highest);
            }
            Self::Reversed => scores.fill(MAX_SCORE),
        }
    }
}

#[cfg(test)]
mod tests;
