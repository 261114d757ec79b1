//! QoS class, priority and OOM score (behaviour.md 1.16, 22).

use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::containers::containers;
use crate::quantity::Quantity;
use crate::resources::{ResourceList, container_limits, container_requests};

/// Pods from this priority on are critical.
pub const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// How a pod is treated when a node runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QosClass {
    /// Requests equal limits everywhere.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        })
    }
}

/// The class of `pod`: what its status says, else what follows from processor and memory of all its containers.
pub fn qos_class(pod: &Pod) -> QosClass {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => QosClass::Guaranteed,
        Some("Burstable") => QosClass::Burstable,
        Some("BestEffort") => QosClass::BestEffort,
        _ => computed_class(pod),
    }
}

fn computed_class(pod: &Pod) -> QosClass {
    let Some(spec) = &pod.spec else { return QosClass::BestEffort };
    if let Some(level) = &spec.resources {
        let whole = Container { resources: Some(level.clone()), ..Container::default() };
        return class_of(std::iter::once(&whole));
    }
    class_of(containers(spec).map(|(_, c)| c))
}

fn class_of<'a>(all: impl Iterator<Item = &'a Container>) -> QosClass {
    let relevant = |mut list: ResourceList| {
        list.retain(|name, amount| matches!(name.as_str(), "cpu" | "memory") && *amount > Quantity::ZERO);
        list
    };
    let mut any = false;
    let mut guaranteed = true;
    for container in all {
        let requests = relevant(container_requests(container));
        let limits = relevant(container_limits(container));
        any |= !requests.is_empty() || !limits.is_empty();
        guaranteed &= limits.len() == 2 && requests == limits;
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// `spec.priority`, 0 where it is not given.
pub fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
}

/// Whether the pod comes from a manifest on the node.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, "kubernetes.io/config.source").is_some_and(|s| s != "api")
}

fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, "kubernetes.io/config.mirror").is_some()
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a String> {
    pod.metadata.annotations.as_ref().and_then(|a| a.get(key))
}

/// Whether the node cannot do without the pod: static, mirror, or of a system priority.
pub fn is_critical(pod: &Pod) -> bool {
    is_static(pod) || is_mirror(pod) || priority(pod) >= SYSTEM_CRITICAL_PRIORITY
}

/// Whether the pod is critical and of the class `system-node-critical` by name.
pub fn is_node_critical(pod: &Pod) -> bool {
    let class = pod.spec.as_ref().and_then(|s| s.priority_class_name.as_deref());
    is_critical(pod) && class == Some("system-node-critical")
}

/// What the kernel adds to a container's badness when memory runs out, -997 to 1000 (behaviour.md 22.5).
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory_bytes: u64) -> i32 {
    if is_node_critical(pod) {
        return -997;
    }
    match qos_class(pod) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let request = container_requests(container).get("memory").map_or(0, Quantity::value);
            let request = i128::from(request.max(0));
            let share = 1000 * request / i128::from(node_memory_bytes.max(1));
            i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests;
