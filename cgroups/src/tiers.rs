//! The cgroups above the pods: the top, the tiers, and those of the reservations (behaviour.md 21.3, 21.8, 21.10, 21.11,
//! 23.2).

use k8s_openapi::api::core::v1::Pod;
use podspec::QosClass;

use crate::cpu::{MIN_CPU_SHARES, cpu_shares};
use crate::hugetlb::{self, UNBOUNDED_BYTES};
use crate::memory::{Kept, Limit, Reservation};
use crate::node::{Capacity, Enforcement, Policy, Reserved};
use crate::pod::{bytes, millis};
use crate::values::Values;

/// What the pods of a node ask for together. Pods that have ended must not be among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    burstable_cpu_millis: u64,
    burstable_memory_bytes: u64,
    guaranteed_memory_bytes: u64,
}

impl std::iter::Sum for Demand {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            burstable_cpu_millis: a.burstable_cpu_millis.saturating_add(b.burstable_cpu_millis),
            burstable_memory_bytes: a.burstable_memory_bytes.saturating_add(b.burstable_memory_bytes),
            guaranteed_memory_bytes: a.guaranteed_memory_bytes.saturating_add(b.guaranteed_memory_bytes),
        })
    }
}

impl Demand {
    /// Of these pods; with resizes their specs have to be the allocated ones.
    pub fn of<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut all = Self::default();
        for pod in pods {
            let requests = podspec::pod_requests(pod);
            let memory = match podspec::qos_class(pod) {
                QosClass::Guaranteed => &mut all.guaranteed_memory_bytes,
                QosClass::Burstable => {
                    all.burstable_cpu_millis = all.burstable_cpu_millis.saturating_add(millis(&requests));
                    &mut all.burstable_memory_bytes
                }
                QosClass::BestEffort => continue,
            };
            *memory = memory.saturating_add(bytes(&requests));
        }
        all
    }
}

/// The values of the top and the two tiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierValues {
    /// Of `kubepods`.
    pub top: Values,
    /// Of `burstable`.
    pub burstable: Values,
    /// Of `besteffort`.
    pub best_effort: Values,
}

/// What top and tiers are to hold while pods with this demand are on the node: set at the start, when a pod comes or
/// goes, and each minute.
pub fn tier_values(demand: &Demand, capacity: &Capacity, policy: &Policy) -> TierValues {
    let sizes = || capacity.huge_pages.keys().copied();
    let tiered = policy.memory_qos.map(|qos| qos.reservation == Reservation::Tiered);
    let kept = |min_bytes, low_bytes| {
        tiered.map(|tiered| if tiered { Kept { min_bytes, low_bytes } } else { Kept::default() })
    };
    let (burstable_limit, best_effort_limit) = reserved_for_better(demand, capacity, policy);
    let tier = |cpu_shares, memory_max: Option<u64>, memory_kept| Values {
        cpu_shares: Some(cpu_shares),
        memory_max: memory_max.map(Limit::At),
        memory_kept,
        huge_pages: hugetlb::everywhere(sizes(), UNBOUNDED_BYTES),
        ..Values::default()
    };
    let both = demand.guaranteed_memory_bytes.saturating_add(demand.burstable_memory_bytes);
    TierValues {
        top: top(capacity, policy, kept(both, 0)),
        burstable: tier(
            cpu_shares(demand.burstable_cpu_millis),
            burstable_limit,
            kept(0, demand.burstable_memory_bytes),
        ),
        best_effort: tier(MIN_CPU_SHARES, best_effort_limit, kept(0, 0)),
    }
}

/// All that there is, or what the reservations leave of it; the eviction threshold is not subtracted.
fn top(capacity: &Capacity, policy: &Policy, memory_kept: Option<Kept>) -> Values {
    let (cpu_millis, memory, pids) = if policy.enforced.pods {
        let memory = policy.allocatable_memory_bytes(capacity);
        (policy.allocatable_cpu_millis(capacity), memory, policy.allocatable_pids(capacity))
    } else {
        (capacity.cpu_millis, capacity.memory_bytes, capacity.pids)
    };
    Values {
        cpu_shares: Some(cpu_shares(cpu_millis)),
        memory_max: Some(Limit::At(memory)),
        memory_kept,
        pids_max: pids.map(Limit::At),
        huge_pages: capacity.huge_pages.clone(),
        // systemd takes the controller away again if nobody has told it of the processors.
        cpus: policy.all_cpus.then(|| capacity.cpus.clone()).filter(|cpus| !cpus.is_empty()),
        ..Values::default()
    }
}

/// Memory limits of the two tiers where some of the requests of better ones is held back from them
/// (behaviour.md 21.11): in bytes, for burstable and besteffort.
fn reserved_for_better(demand: &Demand, capacity: &Capacity, policy: &Policy) -> (Option<u64>, Option<u64>) {
    let Some(percent) = policy.qos_reserved_memory_percent else { return (None, None) };
    let allocatable = policy.allocatable_memory_bytes(capacity);
    if allocatable == 0 {
        return (None, None);
    }
    let share = |bytes: u64| u64::try_from(u128::from(bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX);
    let burstable = allocatable.saturating_sub(share(demand.guaranteed_memory_bytes));
    (Some(burstable), Some(burstable.saturating_sub(share(demand.burstable_memory_bytes))))
}

/// What the cgroup of a reservation is to hold. It has to be there already; it is never made here. Huge pages, which no
/// reservation speaks of, are left alone. With the gate `MemoryQoS` the memory is also kept from reclaim.
pub fn reserved_values(reserved: &Reserved, enforcement: Enforcement, memory_qos: bool) -> Values {
    let cpu = Values { cpu_shares: reserved.cpu_millis.map(cpu_shares), ..Values::default() };
    match enforcement {
        Enforcement::Compressible => cpu,
        Enforcement::Whole => Values {
            memory_max: reserved.memory_bytes.map(Limit::At),
            memory_kept: reserved
                .memory_bytes
                .filter(|_| memory_qos)
                .map(|min_bytes| Kept { min_bytes, low_bytes: 0 }),
            pids_max: reserved.pids.map(Limit::At),
            ..cpu
        },
    }
}

#[cfg(test)]
mod tests;
