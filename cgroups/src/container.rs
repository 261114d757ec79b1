//! What the runtime is told about a container's resources (behaviour.md 21.3 to 21.10, 22.5, 28); the container's cgroup
//! itself is the runtime's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use podspec::{QosClass, Quantity, ResourceList};

use crate::cpu::{cpu_quota_us, cpu_shares};
use crate::hugetlb::{self, page_size_name};
use crate::memory::{Kept, memory_high};
use crate::node::{Capacity, Policy};
use crate::swap::{SwapBehavior, swap_limit_bytes};

/// The hierarchy that the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// The old ones, which a node may have without pod cgroups.
    V1,
    /// The unified one.
    V2,
}

/// A container's resources in the runtime interface's terms; zero is "not set" there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerResources {
    /// Shares, 2 to 262144.
    pub cpu_shares: u64,
    /// Microseconds in each period, -1 for no limit, 0 for not set.
    pub cpu_quota_us: i64,
    /// Microseconds, 0 for not set.
    pub cpu_period_us: u64,
    /// Bytes, 0 for no limit.
    pub memory_limit_bytes: u64,
    /// Memory and swap together in bytes, 0 for not set; only where the hierarchy is not the unified one.
    pub memory_swap_limit_bytes: u64,
    /// -997 to 1000.
    pub oom_score_adj: i32,
    /// Files of the unified hierarchy.
    pub unified: BTreeMap<String, String>,
    /// Limits in bytes by page size as the runtime spells it.
    pub huge_pages: Vec<(String, u64)>,
}

/// The resources of `container` of `pod`.
///
/// `exclusive_cpus` says that processors of its own were given to the container, which takes the quota away.
pub fn container_resources(
    pod: &Pod,
    container: &Container,
    capacity: &Capacity,
    policy: &Policy,
    hierarchy: Hierarchy,
    exclusive_cpus: bool,
) -> ContainerResources {
    let limits = with_pod_limits(pod, podspec::container_limits(container));
    let memory_limit_bytes = positive(&limits, "memory", Quantity::value).unwrap_or(0);
    let mut resources = ContainerResources {
        cpu_shares: container_shares(&podspec::container_requests(container), &limits),
        memory_limit_bytes,
        oom_score_adj: podspec::oom_score_adj(pod, container, capacity.memory_bytes),
        ..ContainerResources::default()
    };
    if let Some(period_us) = policy.cpu_period_us {
        resources.cpu_period_us = period_us;
        resources.cpu_quota_us = match positive(&limits, "cpu", Quantity::milli_value) {
            _ if exclusive_cpus => -1,
            Some(millis) => cpu_quota_us(millis, period_us).and_then(|q| i64::try_from(q).ok()).unwrap_or(0),
            None => 0,
        };
    }
    match hierarchy {
        // Without swap for containers, memory and swap together are the memory limit (behaviour.md 28.2).
        Hierarchy::V1 => resources.memory_swap_limit_bytes = memory_limit_bytes,
        Hierarchy::V2 => {
            resources.unified = unified(pod, container, capacity, policy);
            let all = hugetlb::limits(&limits, capacity.huge_pages.keys().copied());
            resources.huge_pages =
                all.into_iter().map(|(size, limit)| (page_size_name(size), limit)).collect();
        }
    }
    resources
}

/// A limit of the pod as a whole stands for one that the container does not have.
fn with_pod_limits(pod: &Pod, mut limits: ResourceList) -> ResourceList {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.limits.as_ref());
    for (name, amount) in of_pod.into_iter().flatten() {
        if let Ok(amount) = amount.0.parse::<Quantity>()
            && limits.get(name).is_none_or(Quantity::is_zero)
        {
            limits.insert(name.clone(), amount);
        }
    }
    limits
}

/// Of the request, even of one of nothing; of the limit where there is no request.
fn container_shares(requests: &ResourceList, limits: &ResourceList) -> u64 {
    let amount = requests.get("cpu").or_else(|| limits.get("cpu"));
    cpu_shares(amount.map_or(0, |amount| u64::try_from(amount.milli_value()).unwrap_or(0)))
}

fn unified(
    pod: &Pod,
    container: &Container,
    capacity: &Capacity,
    policy: &Policy,
) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut set = |file: &str, content: u64| files.insert(file.to_owned(), content.to_string());
    if !policy.single_process_oom_kill {
        set("memory.oom.group", 1);
    }
    let requests = podspec::container_requests(container);
    // The container's own: a limit of the pod is no reason to throttle one container.
    let limit = positive(&podspec::container_limits(container), "memory", Quantity::value);
    let request = positive(&requests, "memory", Quantity::value).unwrap_or(0);
    let class = podspec::qos_class(pod);
    if capacity.counts_swap {
        let eligible = policy.swap == SwapBehavior::LimitedSwap && podspec::may_swap(pod, container);
        let bytes =
            if eligible { swap_limit_bytes(request, capacity.memory_bytes, capacity.swap_bytes) } else { 0 };
        set("memory.swap.max", bytes);
    }
    if let Some(qos) = policy.memory_qos {
        let kept = Kept::of(request, class == QosClass::Guaranteed, qos.reservation);
        set("memory.min", kept.min_bytes);
        set("memory.low", kept.low_bytes);
        let allocatable = policy.allocatable_memory_bytes(capacity);
        let high = memory_high(request, limit, allocatable, qos.throttling_factor, capacity.page_bytes);
        if let Some(high) = high {
            set("memory.high", high);
        }
    }
    files
}

fn positive(list: &ResourceList, name: &str, unit: impl Fn(&Quantity) -> i64) -> Option<u64> {
    list.get(name).and_then(|amount| u64::try_from(unit(amount)).ok()).filter(|amount| *amount > 0)
}

#[cfg(test)]
mod tests;
