//! NodePorts: a port of the node is had once (behaviour.md 2.6).

use super::{Candidate, Filter, Reason, Target};

pub(super) const FILTER: Filter = Filter { name: "NodePorts", filter, resolvable: |_, _| true };

fn filter(pod: Candidate<'_>, target: Target<'_>) -> Vec<Reason> {
    let taken = |wanted| target.usage.ports.iter().any(|used| podspec::conflicts(wanted, used));
    if pod.load.ports.iter().any(taken) {
        return vec!["node(s) didn't have free ports for the requested pod ports".into()];
    }
    Vec::new()
}
