//! A pod's cgroup: where it is and what it holds (behaviour.md 21.3 to 21.8, 21.10, 7.15).

use k8s_openapi::api::core::v1::Pod;
use podspec::{QosClass, Quantity, ResourceList, containers};

use crate::cpu::{CpuMax, MIN_CPU_SHARES, cpu_quota_us, cpu_shares};
use crate::memory::{Kept, Limit};
use crate::names::Tier;
use crate::node::{Capacity, Policy};
use crate::values::Values;
use crate::{hugetlb, pids};

/// The tier that the pod's cgroup is in.
pub fn pod_tier(pod: &Pod) -> Tier {
    podspec::qos_class(pod).into()
}

/// What the cgroup of `pod` is to hold. Resources are those of the spec that is given: with resizes it has to be the
/// allocated one (behaviour.md 27.1).
///
/// `exclusive_cpus` says that processors of its own were given to it, which takes the quota away (behaviour.md 21.5).
pub fn pod_values(pod: &Pod, capacity: &Capacity, policy: &Policy, exclusive_cpus: bool) -> Values {
    let requests = podspec::pod_requests(pod);
    let limits = podspec::pod_limits(pod);
    let class = podspec::qos_class(pod);
    let mut values = Values {
        pids_max: pids::pod_limit(policy.pod_pids_limit).map(Limit::At),
        // Requests of huge pages are their limits; unlike other limits they count where not every container has one.
        huge_pages: hugetlb::limits(&requests, capacity.huge_pages.keys().copied()),
        memory_kept: policy
            .memory_qos
            .map(|qos| Kept::of(bytes(&requests), class == QosClass::Guaranteed, qos.reservation)),
        ..Values::default()
    };
    if class == QosClass::BestEffort {
        // Also where overhead asks for something: the class counts containers only.
        values.cpu_shares = Some(MIN_CPU_SHARES);
        return values;
    }
    values.cpu_shares = Some(cpu_shares(millis(&requests)));
    if is_limited(pod, "cpu") {
        values.cpu_max = cpu_max(millis(&limits), policy, exclusive_cpus);
    }
    if is_limited(pod, "memory") {
        values.memory_max = Some(bytes(&limits)).filter(|limit| *limit > 0).map(Limit::At);
    }
    values
}

/// The quota for a limit. Where quotas are switched off, one that a kubelet or an earlier setting left is taken away.
fn cpu_max(limit_millis: u64, policy: &Policy, exclusive_cpus: bool) -> Option<CpuMax> {
    let period_us = policy.cpu_period_us.unwrap_or(crate::cpu::DEFAULT_CPU_PERIOD_US);
    let quota_us =
        cpu_quota_us(limit_millis, period_us).filter(|_| policy.cpu_period_us.is_some() && !exclusive_cpus);
    Some(CpuMax { quota_us, period_us })
}

/// Whether the whole pod is limited: every container is, also those that run first, or the pod itself
/// (behaviour.md 50.10). Zero is no limit.
fn is_limited(pod: &Pod, resource: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let positive = |amount: Option<&Quantity>| amount.is_some_and(|amount| *amount > Quantity::ZERO);
    let of_pod =
        spec.resources.as_ref().and_then(|r| r.limits.as_ref()?.get(resource)?.0.parse::<Quantity>().ok());
    positive(of_pod.as_ref())
        || containers(spec).all(|(_, container)| positive(podspec::container_limits(container).get(resource)))
}

pub(crate) fn millis(list: &ResourceList) -> u64 {
    list.get("cpu").map_or(0, |amount| u64::try_from(amount.milli_value()).unwrap_or(0))
}

pub(crate) fn bytes(list: &ResourceList) -> u64 {
    list.get("memory").map_or(0, |amount| u64::try_from(amount.value()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
