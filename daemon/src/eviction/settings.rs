//! The configuration in the terms of the crate `eviction`.

use std::time::Duration;

use ::eviction::drivers::pressure::StallLimit;
use ::eviction::{Given, Settings, ThresholdError, thresholds};

use crate::config::{Config, GoDuration};

/// What is in force; `most_stalled` is the option of the command line.
///
/// # Errors
/// A threshold cannot be used. The configuration's own checks find that first.
pub(super) fn settings(
    config: &Config,
    most_stalled: Option<StallLimit>,
) -> Result<Settings, ThresholdError> {
    let duration = |text: &String| text.parse().map_or(Duration::ZERO, GoDuration::to_std);
    let soft_grace = config.eviction_soft_grace_period.iter();
    let given = Given {
        hard: config.eviction_hard.clone(),
        soft: config.eviction_soft.clone(),
        soft_grace: soft_grace.map(|(signal, text)| (signal.clone(), duration(text))).collect(),
        minimum_reclaim: config.eviction_minimum_reclaim.clone(),
        pods_are_limited: config.cgroups_per_qos
            && config.enforce_node_allocatable.iter().any(|e| e == "pods"),
        most_stalled: most_stalled.map(|limit| limit.percent),
    };
    Ok(Settings {
        thresholds: thresholds(&given)?,
        transition: config.eviction_pressure_transition_period.to_std(),
        max_pod_grace: Duration::from_secs(
            u64::try_from(config.eviction_max_pod_grace_period).unwrap_or_default(),
        ),
        local_limits: config.local_storage_capacity_isolation,
        stall_window: most_stalled.map(|limit| limit.stall.window()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use ::eviction::Signal;

    use super::*;

    #[test]
    fn the_defaults_of_a_kubelet_are_in_force() {
        let settings = settings(&Config::default(), None).unwrap();
        let names: Vec<&str> = settings.thresholds.iter().map(|t| t.signal.name()).collect();
        let expected = [
            "memory.available",
            "allocatableMemory.available",
            "nodefs.available",
            "nodefs.inodesFree",
            "imagefs.available",
            "imagefs.inodesFree",
            "containerfs.available",
            "containerfs.inodesFree",
        ];
        assert_eq!(names, expected);
        assert_eq!((settings.transition, settings.local_limits), (Duration::from_secs(300), true));
    }

    #[test]
    fn soft_thresholds_have_their_grace_and_a_stall_its_share() {
        let config = Config {
            eviction_hard: Default::default(),
            eviction_soft: [("pid.available".to_owned(), "10%".to_owned())].into(),
            eviction_soft_grace_period: [("pid.available".to_owned(), "1m30s".to_owned())].into(),
            eviction_max_pod_grace_period: 60,
            ..Config::default()
        };
        let settings = settings(&config, Some("full.avg10>40".parse().unwrap())).unwrap();
        let graces: Vec<_> = settings.thresholds.iter().map(|t| (t.signal, t.grace)).collect();
        let soft = Some(Duration::from_secs(90));
        assert_eq!(graces, [(Signal::MemoryUnstalled, None), (Signal::PidAvailable, soft)]);
        assert_eq!(settings.max_pod_grace, Duration::from_secs(60));
    }
}
