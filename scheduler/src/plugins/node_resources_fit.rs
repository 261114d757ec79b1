//! NodeResourcesFit: what the pod requests must be free, and the node must take one pod more. All that is short is told.

use super::{Candidate, Filter, Reason, Target};
use crate::node::Usage;

pub(super) const FILTER: Filter = Filter { name: "NodeResourcesFit", filter, resolvable };

fn filter(pod: Candidate<'_>, target: Target<'_>) -> Vec<Reason> {
    let (wanted, all, used) = (&pod.load.requests, &target.node.allocatable, &target.usage.requests);
    let mut short: Vec<Reason> = Vec::new();
    if target.usage.pods + 1 > target.node.max_pods {
        short.push("Too many pods".into());
    }
    // Nothing of a resource can always be had, also where too much of it is taken.
    let lacks = |wanted: i64, all: i64, used: i64| wanted > 0 && wanted > all.saturating_sub(used);
    if lacks(wanted.milli_cpu, all.milli_cpu, used.milli_cpu) {
        short.push("Insufficient cpu".into());
    }
    if lacks(wanted.memory_bytes, all.memory_bytes, used.memory_bytes) {
        short.push("Insufficient memory".into());
    }
    if lacks(wanted.ephemeral_bytes, all.ephemeral_bytes, used.ephemeral_bytes) {
        short.push("Insufficient ephemeral-storage".into());
    }
    for (name, amount) in &wanted.others {
        let of = |amounts: &crate::amounts::Amounts| amounts.others.get(name).copied().unwrap_or(0);
        if lacks(*amount, of(all), of(used)) {
            short.push(format!("Insufficient {name}").into());
        }
    }
    short
}

/// Whether the empty node would have room.
fn resolvable(pod: Candidate<'_>, target: Target<'_>) -> bool {
    filter(pod, Target { usage: &Usage::default(), ..target }).is_empty()
}
