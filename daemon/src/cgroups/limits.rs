//! The machine and the settings, as the crate `cgroups` wants them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::cgroups::{
    Capacity, ContainerResources, Enforced, Hierarchy, MemoryQos, Policy, Reservation, Reserved,
    SwapBehavior, container_resources,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use podspec::Quantity;

use crate::config::{Config, cpu_set_size, gates};
use crate::node::info::Machine;

/// What all values follow from, beside the pods. It does not change while the daemon runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The machine.
    pub capacity: Capacity,
    /// The settings.
    pub policy: Policy,
    /// Which hierarchy the machine has.
    pub hierarchy: Hierarchy,
}

impl Limits {
    /// Of this machine. What the kernel does not tell is not limited.
    #[must_use]
    pub fn new(config: &Config, machine: &Machine, hierarchy: Hierarchy) -> Self {
        Self::below(Path::new("/"), config, machine, hierarchy)
    }

    pub(super) fn below(root: &Path, config: &Config, machine: &Machine, hierarchy: Hierarchy) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let capacity = Capacity {
            cpu_millis: u64::from(machine.cpus) * 1000,
            memory_bytes: machine.memory_bytes,
            swap_bytes: machine.swap_bytes,
            pids: ::cgroups::node_pids(
                &text("proc/sys/kernel/pid_max"),
                &text("proc/sys/kernel/threads-max"),
            ),
            huge_pages: machine.huge_pages.clone(),
            cpus: ::cgroups::parse_list(&text("sys/devices/system/cpu/online")).unwrap_or_default(),
            page_bytes: procfs::page_size(),
            counts_swap: hierarchy == Hierarchy::V2 && counts_swap(&root.join("sys/fs/cgroup")),
        };
        Self { capacity, policy: policy(config), hierarchy }
    }

    /// What the runtime is told of a container.
    #[must_use]
    pub fn container(&self, pod: &Pod, container: &Container) -> ContainerResources {
        container_resources(pod, container, &self.capacity, &self.policy, self.hierarchy, false)
    }
}

/// Whether any cgroup has a limit for swap; the root never has.
fn counts_swap(mount: &Path) -> bool {
    let entries = fs::read_dir(mount).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().join("memory.swap.max").exists())
}

fn policy(config: &Config) -> Policy {
    let gate = |name| gates::enabled(&config.feature_gates, name);
    let period = u64::try_from(config.cpu_cfs_quota_period.to_std().as_micros()).ok();
    let mut system_reserved = reserved(&config.system_reserved);
    let mut kube_reserved = reserved(&config.kube_reserved);
    if let Some(cpus) = cpu_set_size(&config.reserved_system_cpus) {
        // It takes the place of both (behaviour.md 23.4).
        system_reserved.cpu_millis = Some(u64::from(cpus) * 1000);
        kube_reserved.cpu_millis = None;
    }
    Policy {
        cpu_period_us: period.filter(|_| config.cpu_cfs_quota),
        pod_pids_limit: config.pod_pids_limit,
        memory_qos: gate("MemoryQoS").then_some(MemoryQos {
            throttling_factor: config.memory_throttling_factor,
            reservation: match config.memory_reservation_policy.as_str() {
                "TieredReservation" => Reservation::Tiered,
                _ => Reservation::None,
            },
        }),
        swap: match config.memory_swap.swap_behavior.as_str() {
            "LimitedSwap" => SwapBehavior::LimitedSwap,
            _ => SwapBehavior::NoSwap,
        },
        single_process_oom_kill: config.single_process_oom_kill.unwrap_or(false),
        qos_reserved_memory_percent: config
            .qos_reserved
            .get("memory")
            .filter(|_| gate("QOSReserved"))
            .and_then(|percent| percent.trim_end_matches('%').parse().ok()),
        system_reserved,
        kube_reserved,
        enforced: Enforced::parse(config.enforce_node_allocatable.iter().map(String::as_str)),
        all_cpus: config.cpu_manager_policy == "none",
    }
}

/// The configuration has been checked: what is no quantity is not there.
fn reserved(amounts: &BTreeMap<String, String>) -> Reserved {
    let amount = |name: &str, unit: fn(&Quantity) -> i64| {
        let amount: Quantity = amounts.get(name)?.parse().ok()?;
        u64::try_from(unit(&amount)).ok()
    };
    Reserved {
        cpu_millis: amount("cpu", Quantity::milli_value),
        memory_bytes: amount("memory", Quantity::value),
        pids: amount("pid", Quantity::value),
    }
}

#[cfg(test)]
mod tests;
