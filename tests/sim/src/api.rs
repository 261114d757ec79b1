//! The API server: objects, and what a write does to them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::workload::Key;

/// Conditions that the node agent writes; those of others stay as they are (behaviour.md 5.5).
const OWN_CONDITIONS: [&str; 9] = [
    "PodScheduled",
    "Initialized",
    "ContainersReady",
    "Ready",
    "PodReadyToStartContainers",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
    "DisruptionTarget",
];

#[derive(Debug, Default)]
pub(crate) struct Api {
    /// Whether it can be reached.
    pub(crate) up: bool,
    objects: BTreeMap<Key, Object>,
    version: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) pod: ApiPod,
    pub(crate) version: u64,
}

impl Api {
    pub(crate) fn new() -> Self {
        Self { up: true, ..Self::default() }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Object> {
        self.objects.get(&key)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Key, &Object)> {
        self.objects.iter().map(|(key, object)| (*key, object))
    }

    /// Whether a pod of this name is there.
    pub(crate) fn has_name(&self, name: Option<&str>) -> bool {
        self.objects.values().any(|o| o.pod.metadata.name.as_deref() == name)
    }

    pub(crate) fn create(&mut self, key: Key, pod: ApiPod) {
        self.version += 1;
        self.objects.insert(key, Object { pod, version: self.version });
    }

    pub(crate) fn change(&mut self, key: Key, change: impl FnOnce(&mut ApiPod)) -> bool {
        let Some(object) = self.objects.get_mut(&key) else { return false };
        self.version += 1;
        object.version = self.version;
        change(&mut object.pod);
        true
    }

    /// Changes the spec: the generation counts on.
    pub(crate) fn change_spec(&mut self, key: Key, change: impl FnOnce(&mut ApiPod)) -> bool {
        self.change(key, |pod| {
            change(pod);
            pod.metadata.generation = pod.metadata.generation.map(|g| g + 1);
        })
    }

    pub(crate) fn remove(&mut self, key: Key) -> bool {
        self.objects.remove(&key).is_some()
    }

    /// A deletion: an object whose pod has ended goes at once, and any without grace; others get a date. Tells whether it is gone.
    pub(crate) fn delete(&mut self, key: Key, grace: Option<i64>, now: Timestamp) -> bool {
        let Some(object) = self.objects.get(&key) else { return true };
        let own = object.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        let grace = grace.unwrap_or(own);
        if is_terminal(object.pod.status.as_ref()) || grace == 0 {
            return self.remove(key);
        }
        let before = object.pod.metadata.deletion_grace_period_seconds;
        // Only ever shorter.
        if before.is_none_or(|before| grace < before) {
            self.change_spec(key, |pod| {
                pod.metadata.deletion_timestamp = Some(Time(now));
                pod.metadata.deletion_grace_period_seconds = Some(grace);
            });
        }
        false
    }

    /// Takes a status; tells what it is then, or that there is no such object.
    pub(crate) fn write_status(&mut self, key: Key, status: &PodStatus) -> Option<&Object> {
        let before = self.objects.get(&key)?.pod.status.clone();
        let merged = merged(before.as_ref(), status);
        if before.as_ref() != Some(&merged) {
            self.change(key, |pod| pod.status = Some(merged));
        }
        self.objects.get(&key)
    }
}

/// What a patch with all of `new` makes of `old`.
pub(crate) fn merged(old: Option<&PodStatus>, new: &PodStatus) -> PodStatus {
    let mut merged = new.clone();
    let foreign = old.into_iter().flat_map(|s| s.conditions.iter().flatten());
    let kept: Vec<_> = foreign.filter(|c| !OWN_CONDITIONS.contains(&c.type_.as_str())).cloned().collect();
    if let Some(conditions) = &mut merged.conditions {
        conditions.retain(|c| OWN_CONDITIONS.contains(&c.type_.as_str()));
        conditions.extend(kept);
    }
    merged
}

pub(crate) fn is_terminal(status: Option<&PodStatus>) -> bool {
    matches!(status.and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}
