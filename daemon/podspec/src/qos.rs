//! QoS class, priority and OOM score (behaviour.md 1.16, 22).

use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};

use crate::containers::{ContainerKind, containers};
use crate::quantity::Quantity;
use crate::resources::{ResourceList, aggregate, container_limits, container_requests, pod_level_request};

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
    if let Some(level) = spec.resources.as_ref().filter(|level| is_set(level)) {
        let whole = Container { resources: Some(level.clone()), ..Container::default() };
        return class_of(std::iter::once(&whole));
    }
    class_of(containers(spec).map(|(_, c)| c))
}

/// Whether anything is said for the pod as a whole; an empty `resources` says nothing.
fn is_set(level: &ResourceRequirements) -> bool {
    let names = level.requests.iter().chain(level.limits.iter()).flat_map(|list| list.keys());
    names.into_iter().any(|name| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-"))
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

/// Whether the container gets a share of the node's swap where pods may have any (behaviour.md 28.3).
pub fn may_swap(pod: &Pod, container: &Container) -> bool {
    let memory = |list: ResourceList| list.get("memory").map_or(0, Quantity::value).max(0);
    let request = memory(container_requests(container));
    qos_class(pod) == QosClass::Burstable
        && !is_critical(pod)
        && request > 0
        && request != memory(container_limits(container))
}

/// What the kernel adds to a container's badness when memory runs out, -997 to 1000 (behaviour.md 22.5).
///
/// In a burstable pod it falls with the share of the node's memory that the container asks for; what the pod asks for
/// beyond its containers counts for all of them alike. A sidecar is not killed before the least of the regular containers.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory_bytes: u64) -> i32 {
    if is_node_critical(pod) {
        return -997;
    }
    match qos_class(pod) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let spare = spare_memory_per_container(pod);
            let score =
                |request: i128| 1000 - 1000 * (request + spare) / i128::from(node_memory_bytes.max(1));
            let mut adj = score(memory_request(container));
            let spec = pod.spec.as_ref();
            if spec.is_some_and(|spec| is_sidecar(spec, container)) {
                let least = spec.into_iter().flat_map(|spec| &spec.containers).map(memory_request).min();
                adj = adj.min(score(least.unwrap_or(0)));
            }
            i32::try_from(adj.clamp(3, 999)).unwrap_or(999)
        }
    }
}

fn memory_request(container: &Container) -> i128 {
    i128::from(container_requests(container).get("memory").map_or(0, Quantity::value).max(0))
}

fn is_sidecar(spec: &PodSpec, container: &Container) -> bool {
    containers(spec).any(|(kind, other)| kind == ContainerKind::Sidecar && other.name == container.name)
}

/// What a pod-level request leaves beyond all containers' requests, divided by the number of containers.
fn spare_memory_per_container(pod: &Pod) -> i128 {
    let Some(spec) = &pod.spec else { return 0 };
    let Some(whole) = pod_level_request(spec, "memory").filter(|whole| !whole.is_zero()) else { return 0 };
    let containers = i128::try_from(containers(spec).count()).unwrap_or(1).max(1);
    let asked = aggregate(spec, container_requests).get("memory").map_or(0, Quantity::value);
    (i128::from(whole.value()) - i128::from(asked)) / containers
}

#[cfg(test)]
mod tests;
