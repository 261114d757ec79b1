//! What values depend on beside the pod: the machine, and the settings.

use crate::hugetlb::HugePages;
use crate::memory::MemoryQos;
use crate::swap::SwapBehavior;

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Processor time in thousandths of a processor.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Swap in bytes.
    pub swap_bytes: u64,
    /// How many tasks there can be; none where the kernel does not say.
    pub pids: Option<u64>,
    /// Bytes set aside by page size, of every size that the kernel has.
    pub huge_pages: HugePages,
    /// The processors, ascending.
    pub cpus: Vec<u32>,
    /// Bytes of a page of memory.
    pub page_bytes: u64,
    /// Whether the kernel counts swap by cgroup (`memory.swap.max` is there).
    pub counts_swap: bool,
}

/// `systemReserved` or `kubeReserved`; none where the setting says nothing about a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Tasks.
    pub pids: Option<u64>,
}

/// How far a reservation is enforced (behaviour.md 23.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Processor time, memory and tasks.
    Whole,
    /// Processor time only: what can be taken away again.
    Compressible,
}

/// What `enforceNodeAllocatable` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enforced {
    /// `pods`: all pods together get no more than is left.
    pub pods: bool,
    /// `system-reserved` or `system-reserved-compressible`.
    pub system: Option<Enforcement>,
    /// `kube-reserved` or `kube-reserved-compressible`.
    pub kube: Option<Enforcement>,
}

impl Enforced {
    /// The values of the setting; `none` and what is unknown enforce nothing.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for value in values {
            match value {
                "pods" => all.pods = true,
                "system-reserved" => all.system = Some(Enforcement::Whole),
                "system-reserved-compressible" => all.system = Some(Enforcement::Compressible),
                "kube-reserved" => all.kube = Some(Enforcement::Whole),
                "kube-reserved-compressible" => all.kube = Some(Enforcement::Compressible),
                _ => {}
            }
        }
        all
    }
}

/// The settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `cpuCFSQuotaPeriod` in microseconds; none with `cpuCFSQuota: false`.
    pub cpu_period_us: Option<u64>,
    /// `podPidsLimit`.
    pub pod_pids_limit: i64,
    /// The feature gate and its settings.
    pub memory_qos: Option<MemoryQos>,
    /// `memorySwap.swapBehavior`.
    pub swap: SwapBehavior,
    /// `singleProcessOOMKill`: the kernel kills one process of a container, not all.
    pub single_process_oom_kill: bool,
    /// `qosReserved.memory` in hundredths, with the feature gate.
    pub qos_reserved_memory_percent: Option<u64>,
    /// `systemReserved`.
    pub system_reserved: Reserved,
    /// `kubeReserved`.
    pub kube_reserved: Reserved,
    /// `enforceNodeAllocatable`.
    pub enforced: Enforced,
    /// Whether all processors are the pods' (`cpuManagerPolicy: none`).
    pub all_cpus: bool,
}

impl Default for Policy {
    /// A kubelet's defaults on cgroup v2.
    fn default() -> Self {
        Self {
            cpu_period_us: Some(crate::cpu::DEFAULT_CPU_PERIOD_US),
            pod_pids_limit: -1,
            memory_qos: None,
            swap: SwapBehavior::NoSwap,
            single_process_oom_kill: false,
            qos_reserved_memory_percent: None,
            system_reserved: Reserved::default(),
            kube_reserved: Reserved::default(),
            enforced: Enforced { pods: true, ..Enforced::default() },
            all_cpus: true,
        }
    }
}

impl Policy {
    /// Memory in bytes that pods may have, as throttling counts it: capacity less both reservations. The hard eviction
    /// threshold is not subtracted (behaviour.md 23.2).
    pub fn allocatable_memory_bytes(&self, capacity: &Capacity) -> u64 {
        less(capacity.memory_bytes, [self.system_reserved.memory_bytes, self.kube_reserved.memory_bytes])
    }

    pub(crate) fn allocatable_cpu_millis(&self, capacity: &Capacity) -> u64 {
        less(capacity.cpu_millis, [self.system_reserved.cpu_millis, self.kube_reserved.cpu_millis])
    }

    pub(crate) fn allocatable_pids(&self, capacity: &Capacity) -> Option<u64> {
        Some(less(capacity.pids?, [self.system_reserved.pids, self.kube_reserved.pids]))
    }
}

fn less(whole: u64, reserved: [Option<u64>; 2]) -> u64 {
    reserved.into_iter().flatten().fold(whole, u64::saturating_sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_23_2_each_value_of_the_setting_is_understood() {
        let all = Enforced::parse(["pods", "system-reserved", "kube-reserved-compressible"]);
        assert_eq!(
            all,
            Enforced { pods: true, system: Some(Enforcement::Whole), kube: Some(Enforcement::Compressible) }
        );
        assert_eq!(Enforced::parse(["none"]), Enforced::default());
    }
}
