//! What the node has, and what pods may have of it. behaviour.md 23.

use std::collections::BTreeMap;

use eviction::Amount;
use podspec::Quantity;

use super::info::Machine;
use crate::config::{Config, cpu_set_size};

/// Capacity and allocatable by resource name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    pub capacity: BTreeMap<String, Quantity>,
    pub allocatable: BTreeMap<String, Quantity>,
}

/// More is reserved than there is. behaviour.md 23.5.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReservationError {
    #[error(
        "{resource}: {reserved} is reserved for the system and Kubernetes, but the machine has only {capacity}"
    )]
    Amount { resource: String, reserved: String, capacity: String },
    #[error(
        "reservedSystemCPUs: {reserved} names processors that the machine, which has {capacity}, has not"
    )]
    Processors { reserved: String, capacity: u32 },
}

/// Computes both from the machine, the size of the file system that holds the root directory, and the configuration.
///
/// # Errors
/// A reservation is larger than the capacity.
pub fn resources(
    machine: &Machine,
    root_filesystem_bytes: u64,
    config: &Config,
    ignore_eviction: bool,
) -> Result<Resources, ReservationError> {
    let named = cgroups::parse_list(&config.reserved_system_cpus).unwrap_or_default();
    if named.last().is_some_and(|last| *last >= machine.cpus) {
        let reserved = config.reserved_system_cpus.clone();
        return Err(ReservationError::Processors { reserved, capacity: machine.cpus });
    }
    let mut capacity = BTreeMap::new();
    capacity.insert("cpu".to_owned(), Quantity::from_units(machine.cpus.into()));
    capacity.insert("memory".to_owned(), Quantity::from_bytes(machine.memory_bytes));
    capacity.insert("ephemeral-storage".to_owned(), Quantity::from_bytes(root_filesystem_bytes));
    capacity.insert("pods".to_owned(), Quantity::from_units(max_pods(config, machine.cpus)));
    for (size, bytes) in &machine.huge_pages {
        capacity.insert(format!("hugepages-{}", Quantity::from_bytes(*size)), Quantity::from_bytes(*bytes));
    }
    let mut allocatable = BTreeMap::new();
    for (name, amount) in &capacity {
        let reserved = reserved(config, name);
        if reserved > *amount {
            return Err(ReservationError::Amount {
                resource: name.clone(),
                reserved: reserved.to_string(),
                capacity: amount.to_string(),
            });
        }
        let mut left = amount.minus(&reserved);
        let signal = match name.as_str() {
            "memory" => Some(("memory.available", machine.memory_bytes)),
            "ephemeral-storage" => Some(("nodefs.available", root_filesystem_bytes)),
            _ => None,
        };
        if let Some((signal, capacity)) = signal.filter(|_| !ignore_eviction)
            && let Some(threshold) = config.eviction_hard.get(signal)
        {
            let amount = Amount::parse(threshold).ok().flatten().map_or(0, |amount| amount.of(capacity));
            left = left.minus(&Quantity::from_bytes(amount));
        }
        if name == "memory" {
            let huge = machine.huge_pages.values().sum();
            left = left.minus(&Quantity::from_bytes(huge));
        }
        allocatable.insert(name.clone(), if left.is_negative() { Quantity::ZERO } else { left });
    }
    Ok(Resources { capacity, allocatable })
}

fn max_pods(config: &Config, cpus: u32) -> i64 {
    let most = i64::from(config.max_pods);
    match i64::from(config.pods_per_core) * i64::from(cpus) {
        0 => most,
        by_core => most.min(by_core),
    }
}

/// systemReserved and kubeReserved together; `reservedSystemCPUs` takes the place of both for processors.
fn reserved(config: &Config, resource: &str) -> Quantity {
    if resource == "cpu"
        && let Some(cpus) = cpu_set_size(&config.reserved_system_cpus)
    {
        return Quantity::from_units(cpus.into());
    }
    [&config.system_reserved, &config.kube_reserved]
        .iter()
        .filter_map(|reserved| reserved.get(resource)?.parse::<Quantity>().ok())
        .fold(Quantity::ZERO, |sum, amount| sum.plus(&amount))
}

#[cfg(test)]
mod tests;
