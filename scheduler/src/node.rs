//! What the scheduler keeps of a node, and how much of it is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use podspec::HostPort;

use crate::amounts::{Amounts, parsed};
use crate::pod::Load;

/// A node as far as placing pods depends on it; heartbeats do not change it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeInfo {
    pub(crate) name: Arc<str>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Amounts,
    pub(crate) max_pods: i64,
}

/// Conditions that keep pods away, the status in which they do, and the taint that stands for it.
const TAINTING: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

impl NodeInfo {
    /// What is kept of `node`.
    pub(crate) fn of(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let allocatable = parsed(node.status.as_ref().and_then(|s| s.allocatable.as_ref()));
        Self {
            name: node.metadata.name.as_deref().unwrap_or_default().into(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: taints(node),
            unschedulable: spec.and_then(|s| s.unschedulable).unwrap_or(false),
            max_pods: allocatable.get("pods").map_or(0, podspec::Quantity::value),
            allocatable: Amounts::of(&allocatable),
        }
    }
}

/// The node's taints, and those that a cluster's node controller derives from conditions: this cluster may have no such
/// controller, and where there is one they are there already.
fn taints(node: &Node) -> Vec<Taint> {
    let mut taints = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    for condition in node.status.iter().flat_map(|s| s.conditions.iter().flatten()) {
        let implied = TAINTING.iter().find(|(t, s, _)| condition.type_ == *t && condition.status == *s);
        let Some((_, _, key)) = implied else { continue };
        if !taints.iter().any(|t| t.key == *key && t.effect == "NoSchedule") {
            taints.push(Taint {
                key: (*key).to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            });
        }
    }
    taints
}

/// What the pods on a node take together, those included that are only assumed to be there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) requests: Amounts,
    pub(crate) scored: Amounts,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) pods: i64,
    /// How many pods there are of each priority.
    priorities: BTreeMap<i32, usize>,
}

impl Usage {
    /// Whether some pod has less than this priority.
    pub(crate) fn has_below(&self, priority: i32) -> bool {
        self.priorities.first_key_value().is_some_and(|(lowest, _)| *lowest < priority)
    }

    pub(crate) fn add(&mut self, load: &Load) {
        self.requests.add(&load.requests);
        self.scored.add(&load.scored);
        self.ports.extend_from_slice(&load.ports);
        self.pods += 1;
        *self.priorities.entry(load.priority).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, load: &Load) {
        self.requests.subtract(&load.requests);
        self.scored.subtract(&load.scored);
        for port in &load.ports {
            if let Some(index) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(index);
            }
        }
        self.pods -= 1;
        if let Some(count) = self.priorities.get_mut(&load.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&load.priority);
            }
        }
        debug_assert!(self.pods >= 0, "a pod was taken from a node where it was not");
    }
}
