//! A container runtime as the daemon sees it through CRI, and what stands on the disk beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifecycle::{Container, ContainerState, Failure, FailureKind, Observation, Sandbox};

use crate::random::Random;
use crate::workload::Key;

/// Everything of one pod.
#[derive(Debug, Default)]
pub(crate) struct PodInRuntime {
    pub(crate) sandboxes: Vec<Sandbox>,
    pub(crate) containers: Vec<Container>,
    /// Attempts of sandboxes that are being made: their names are taken.
    pub(crate) making_sandboxes: BTreeSet<u32>,
    /// Containers that are being made: their names are taken.
    pub(crate) making: BTreeSet<(String, u32)>,
    /// Ids of containers that are being started.
    pub(crate) starting: BTreeSet<String>,
    /// Log files: by container, of which attempts.
    pub(crate) logs: BTreeMap<String, BTreeSet<u32>>,
    pub(crate) volumes_mounted: bool,
    pub(crate) has_dirs: bool,
    pub(crate) has_cgroup: bool,
    /// Counts up with each change that a list of the runtime would show.
    pub(crate) changes: u64,
}

#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) up: bool,
    pub(crate) pods: BTreeMap<Key, PodInRuntime>,
    pub(crate) images: BTreeSet<String>,
    /// Failed tries to pull, by image.
    pub(crate) failed_pulls: BTreeMap<String, u64>,
    next_id: u64,
}

pub(crate) fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.to_owned() }
}

impl Default for Runtime {
    fn default() -> Self {
        let images = BTreeSet::from(["img".to_owned(), "other".to_owned()]);
        Self { up: true, pods: BTreeMap::new(), images, failed_pulls: BTreeMap::new(), next_id: 0 }
    }
}

impl PodInRuntime {
    pub(crate) fn container(&self, id: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.id == id)
    }

    pub(crate) fn container_mut(&mut self, id: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|c| c.id == id)
    }

    /// Those whose process runs.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|c| c.state == ContainerState::Running)
    }

    pub(crate) fn sandbox_is_ready(&self, id: &str) -> bool {
        self.sandboxes.iter().any(|s| s.id == id && s.ready)
    }

    /// Whether nothing at all is left, in the runtime and on the disk.
    pub(crate) fn is_nothing(&self) -> bool {
        self.sandboxes.is_empty()
            && self.containers.is_empty()
            && !self.volumes_mounted
            && !self.has_dirs
            && !self.has_cgroup
            && self.logs.is_empty()
    }

    pub(crate) fn observation(&self) -> Observation {
        let next = |attempts: &BTreeSet<u32>| attempts.last().map(|last| last + 1);
        Observation {
            sandboxes: self.sandboxes.clone(),
            containers: self.containers.clone(),
            logged_restarts: self
                .logs
                .iter()
                .filter_map(|(name, all)| Some((name.clone(), next(all)?)))
                .collect(),
        }
    }
}

impl Runtime {
    pub(crate) fn pod(&mut self, key: Key) -> &mut PodInRuntime {
        self.pods.entry(key).or_default()
    }

    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}-{}", self.next_id)
    }

    /// How long a pull takes and whether it works.
    pub(crate) fn pull(&mut self, image: &str, random: &mut Random) -> (Duration, Result<u64, Failure>) {
        if image == "flaky" {
            let tries = self.failed_pulls.entry(image.to_owned()).or_default();
            *tries += 1;
            if *tries <= 2 {
                let failed = failure(FailureKind::RegistryUnavailable, "the registry is away");
                return (random.millis(10, 2_000), Err(failed));
            }
        }
        let slow = if image == "slow" { 15_000 } else { 500 };
        (random.millis(20, slow), Ok(7_000_000))
    }
}
