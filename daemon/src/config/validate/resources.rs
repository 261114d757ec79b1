//! Checks of amounts: reserved resources, eviction thresholds, log sizes.

use super::{Problems, push};
use crate::config::{Config, GoDuration};

const RESERVABLE: &[&str] = &["cpu", "memory", "ephemeral-storage", "pid"];
const SIGNALS: &[&str] = &[
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
];

pub(super) fn check(config: &Config, problems: &mut Problems) {
    for (field, reserved) in
        [("systemReserved", &config.system_reserved), ("kubeReserved", &config.kube_reserved)]
    {
        for (resource, amount) in reserved {
            let field = format!("{field}.{resource}");
            if !RESERVABLE.contains(&resource.as_str()) {
                push(problems, &field, format!("is none of {}", RESERVABLE.join(", ")));
            } else if !is_amount(amount) {
                push(problems, &field, format!("{amount:?} is no quantity of zero or more"));
            }
        }
    }
    for (field, thresholds) in [
        ("evictionHard", &config.eviction_hard),
        ("evictionSoft", &config.eviction_soft),
        ("evictionMinimumReclaim", &config.eviction_minimum_reclaim),
    ] {
        for (signal, value) in thresholds {
            let field = format!("{field}.{signal}");
            if !SIGNALS.contains(&signal.as_str()) {
                push(problems, &field, format!("is none of {}", SIGNALS.join(", ")));
            } else if !is_threshold(value) {
                push(
                    problems,
                    &field,
                    format!("{value:?} is neither a quantity nor a percentage between 0% and 100%"),
                );
            }
        }
    }
    for signal in config.eviction_soft.keys() {
        if !config.eviction_soft_grace_period.contains_key(signal) {
            push(problems, &format!("evictionSoft.{signal}"), "has no evictionSoftGracePeriod");
        }
    }
    for (signal, grace) in &config.eviction_soft_grace_period {
        let field = format!("evictionSoftGracePeriod.{signal}");
        match grace.parse::<GoDuration>() {
            Ok(grace) if grace < GoDuration::ZERO => push(problems, &field, "must not be negative"),
            Ok(_) => {}
            Err(error) => push(problems, &field, error.to_string()),
        }
    }
    // A negative one turns rotation off.
    if config.container_log_max_size.parse::<podspec::Quantity>().is_err() {
        push(problems, "containerLogMaxSize", format!("{:?} is no quantity", config.container_log_max_size));
    }
    if !config.reserved_system_cpus.is_empty() && cpu_set_size(&config.reserved_system_cpus).is_none() {
        push(
            problems,
            "reservedSystemCPUs",
            format!("{:?} is no list of CPUs (0-3,8)", config.reserved_system_cpus),
        );
    }
    for (resource, share) in &config.qos_reserved {
        let field = format!("qosReserved.{resource}");
        if resource != "memory" {
            push(problems, &field, "only memory can be held back");
        } else if !is_whole_percentage(share) {
            push(problems, &field, format!("{share:?} is no whole percentage between 0% and 100%"));
        }
    }
    for (index, reservation) in config.reserved_memory.iter().enumerate() {
        for (kind, amount) in &reservation.limits {
            if !is_amount(amount) {
                push(
                    problems,
                    &format!("reservedMemory[{index}].limits.{kind}"),
                    format!("{amount:?} is no quantity"),
                );
            }
        }
    }
}

/// Zero or more, in Kubernetes' notation.
fn is_amount(text: &str) -> bool {
    text.parse::<podspec::Quantity>().is_ok_and(|amount| !amount.is_negative())
}

fn is_whole_percentage(text: &str) -> bool {
    text.strip_suffix('%').and_then(|number| number.parse::<u8>().ok()).is_some_and(|number| number <= 100)
}

fn is_threshold(text: &str) -> bool {
    match text.strip_suffix('%') {
        Some(percentage) => percentage.parse::<f64>().is_ok_and(|value| (0.0..=100.0).contains(&value)),
        None => is_amount(text),
    }
}

/// Number of CPUs in a list such as `0-3,8`; `None` when it is no such list.
pub(crate) fn cpu_set_size(list: &str) -> Option<u32> {
    /// More than any machine has; it bounds what a typing error can cost.
    const MOST: u32 = 1 << 16;
    let mut cpus = std::collections::BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    u32::try_from(cpus.len()).ok()
}
