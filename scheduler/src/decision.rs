//! One pod, all nodes: where it goes, or why nowhere. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::node::{NodeInfo, Usage};
use crate::plugins::{Candidate, FILTERS, Filter, Reason, SCORES, Target};

/// Nodes that are named one by one in the log; the message counts them all.
const MOST_DETAIL: usize = 100;

/// Where a pod goes.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    Fits(Arc<str>),
    Nowhere(Unfit),
}

/// Why no node will do.
#[derive(Debug, PartialEq)]
pub(crate) struct Unfit {
    /// For users, in upstream's words.
    pub(crate) message: String,
    /// Node by node: the plugin that objected and its reasons.
    pub(crate) detail: Vec<(Arc<str>, &'static str, Vec<Reason>)>,
}

/// Filters and scores all nodes. Among equals `rotation` decides, so that they are used in turn.
pub(crate) fn decide<'a>(
    pod: Candidate<'_>,
    nodes: impl Iterator<Item = (&'a NodeInfo, &'a Usage)>,
    rotation: usize,
) -> Decision {
    let mut fitting: Vec<Target<'a>> = Vec::new();
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut preemption: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut detail = Vec::new();
    let mut all = 0_usize;
    for (node, usage) in nodes {
        all += 1;
        let target = Target { node, usage };
        if pod.wish.unsupported.is_some() {
            continue;
        }
        let objections = FILTERS.iter().map(|plugin| (plugin, (plugin.filter)(pod, target)));
        let Some((plugin, reasons)) = { objections }.find(|(_, reasons)| !reasons.is_empty()) else {
            fitting.push(target);
            continue;
        };
        for reason in &reasons {
            *counts.entry(reason.clone()).or_default() += 1;
        }
        *preemption.entry(without_preemption(pod, target, plugin).into()).or_default() += 1;
        if detail.len() < MOST_DETAIL {
            detail.push((node.name.clone(), plugin.name, reasons));
        }
    }
    if let Some(node) = best(pod, &fitting, rotation) {
        return Decision::Fits(node);
    }
    let message = match (all, pod.wish.unsupported) {
        (0, _) => "no nodes available to schedule pods".to_owned(),
        (_, Some(field)) => {
            format!("0/{all} nodes are available: {field} is not carried out by this scheduler.")
        }
        (_, None) => {
            let preemption = if pod.wish.preempts {
                format!("0/{all} nodes are available: {}", listed(&preemption))
            } else {
                "not eligible due to preemptionPolicy=Never".to_owned()
            };
            format!("0/{all} nodes are available: {}. preemption: {preemption}.", listed(&counts))
        }
    };
    Decision::Nowhere(Unfit { message, detail })
}

/// Why a pod cannot be placed anywhere, whatever the nodes are like.
pub(crate) fn nowhere(why: &str, nodes: usize, preempts: bool) -> Decision {
    let preemption = if preempts {
        format!("0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling")
    } else {
        "not eligible due to preemptionPolicy=Never".to_owned()
    };
    let message = match nodes {
        0 => "no nodes available to schedule pods".to_owned(),
        _ => format!("0/{nodes} nodes are available: {why}. preemption: {preemption}."),
    };
    Decision::Nowhere(Unfit { message, detail: Vec::new() })
}

/// Why a node that one plugin objects to gets no room by preemption. Pods are not preempted yet, which matters only where a pod
/// of lower priority is in the way.
fn without_preemption(pod: Candidate<'_>, target: Target<'_>, objecting: &Filter) -> &'static str {
    if !(objecting.resolvable)(pod, target) {
        "Preemption is not helpful for scheduling"
    } else if target.usage.has_below(pod.wish.priority) {
        "Preemption is not carried out by this scheduler"
    } else {
        "No preemption victims found for incoming pod"
    }
}

/// `1 Insufficient cpu, 2 node(s) were unschedulable`, in the order of the texts as upstream has it.
fn listed(counts: &BTreeMap<Reason, usize>) -> String {
    let mut texts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort_unstable();
    texts.join(", ")
}

fn best(pod: Candidate<'_>, fitting: &[Target<'_>], rotation: usize) -> Option<Arc<str>> {
    if let [only] = fitting {
        return Some(only.node.name.clone());
    }
    let mut totals = vec![0_i64; fitting.len()];
    for plugin in &SCORES {
        let mut scores: Vec<i64> = fitting.iter().map(|target| (plugin.score)(pod, *target)).collect();
        plugin.normalize.apply(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += score * plugin.weight;
        }
    }
    let highest = totals.iter().max()?;
    let equals: Vec<usize> = (0..totals.len()).filter(|i| totals[*i] == *highest).collect();
    let chosen = equals[rotation % equals.len()];
    Some(fitting[chosen].node.name.clone())
}

#[cfg(test)]
mod tests;
