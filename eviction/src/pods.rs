//! What is known of a pod that may have to go: what it asks for, and what it uses.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use podspec::{Quantity, ResourceList, container_limits, container_requests};

use crate::observation::Parts;
use crate::signal::Resource;

/// Space and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Disk {
    fn of(self, resource: Resource) -> u64 {
        if resource == Resource::Inodes { self.inodes } else { self.bytes }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

/// What one container uses; `None` where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Memory in bytes, without what the kernel can take back.
    pub memory: Option<u64>,
    /// Its writable layer.
    pub layer: Option<Disk>,
    /// Its logs.
    pub logs: Option<Disk>,
}

/// What a pod uses; `None` where that is not known or was not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory of the pod in bytes, without what the kernel can take back.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// By the container's name.
    pub containers: BTreeMap<String, ContainerUsage>,
    /// emptyDirs by name.
    pub empty_dirs: BTreeMap<String, EmptyDir>,
    /// Other local volumes on the node's disk: what config maps, secrets and the like are written to.
    pub other_volumes: Disk,
}

/// An emptyDir that was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmptyDir {
    /// What is in it.
    pub used: Disk,
    /// Whether it is in memory: then it takes nothing from any disk.
    pub in_memory: bool,
}

impl Usage {
    /// What counts against limits of `ephemeral-storage` (behaviour.md 30.4).
    pub fn ephemeral_storage(&self) -> Disk {
        let containers = self.containers.values();
        let containers = containers.map(|c| c.layer.unwrap_or_default().plus(c.logs.unwrap_or_default()));
        containers.fold(self.volumes(), Disk::plus)
    }

    fn volumes(&self) -> Disk {
        let on_disk = self.empty_dirs.values().filter(|dir| !dir.in_memory);
        on_disk.fold(self.other_volumes, |sum, dir| sum.plus(dir.used))
    }

    /// What a pod is ranked by (behaviour.md 29.11 to 29.13); `None` where it is not known.
    pub(crate) fn of(&self, resource: Resource, parts: Parts) -> Option<u64> {
        match resource {
            Resource::Memory => self.memory,
            Resource::Pids => self.processes,
            Resource::Storage | Resource::Inodes => {
                let mut sum = if parts.local { self.volumes() } else { Disk::default() };
                for container in self.containers.values() {
                    let layer = container.layer.filter(|_| parts.layers).unwrap_or_default();
                    let logs = container.logs.filter(|_| parts.local).unwrap_or_default();
                    sum = sum.plus(layer).plus(logs);
                }
                Some(sum.of(resource))
            }
        }
    }
}

impl ContainerUsage {
    /// What is told of it in messages (behaviour.md 29.14).
    pub(crate) fn told(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::Memory => self.memory,
            Resource::Storage => Some(self.layer?.plus(self.logs?).bytes),
            Resource::Inodes | Resource::Pids => None,
        }
    }
}

/// A container as far as its pod's eviction goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// `requests` of `memory`.
    pub memory_request: Quantity,
    /// `requests` of `ephemeral-storage`.
    pub storage_request: Quantity,
    /// `limits` of `ephemeral-storage`.
    pub storage_limit: Option<Quantity>,
}

/// A pod that runs here, and what it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its UID.
    pub uid: String,
    /// `namespace/name`.
    pub name: String,
    /// The higher, the later it goes.
    pub priority: i32,
    /// Critical pods stay (behaviour.md 29.14).
    pub critical: bool,
    /// The pod's own grace period.
    pub grace: Duration,
    /// What the pod as a whole asks for.
    pub memory_request: Quantity,
    /// The same of `ephemeral-storage`.
    pub storage_request: Quantity,
    /// The limits of its containers together, where any has one.
    pub storage_limit: Option<Quantity>,
    /// The containers of the spec that are no init containers, in order.
    pub containers: Vec<Container>,
    /// emptyDirs with a size limit, in the spec's order.
    pub size_limits: Vec<(String, Quantity)>,
    /// `None` where nothing is known of it.
    pub usage: Option<Usage>,
}

const DEFAULT_GRACE: i64 = 30;
const STORAGE: &str = "ephemeral-storage";

impl Candidate {
    /// What the object says; usage is left open.
    pub fn of(pod: &ApiPod) -> Self {
        let meta = &pod.metadata;
        let spec = pod.spec.as_ref();
        let requests = podspec::pod_requests(pod);
        let grace = spec.and_then(|s| s.termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE);
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let containers = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
        let volumes = spec.and_then(|s| s.volumes.as_deref()).unwrap_or_default();
        let limit_of = |v: &k8s_openapi::api::core::v1::Volume| {
            let limit: Quantity = v.empty_dir.as_ref()?.size_limit.as_ref()?.0.parse().ok()?;
            (limit > Quantity::ZERO).then(|| (v.name.clone(), limit))
        };
        Self {
            uid: named(&meta.uid),
            name: format!("{}/{}", named(&meta.namespace), named(&meta.name)),
            priority: podspec::priority(pod),
            critical: podspec::is_critical(pod),
            grace: Duration::from_secs(u64::try_from(grace).unwrap_or(0)),
            memory_request: amount(&requests, "memory"),
            storage_request: amount(&requests, STORAGE),
            storage_limit: podspec::sum_of_limits(pod, STORAGE),
            containers: containers
                .iter()
                .map(|c| {
                    let requests = container_requests(c);
                    Container {
                        name: c.name.clone(),
                        memory_request: amount(&requests, "memory"),
                        storage_request: amount(&requests, STORAGE),
                        storage_limit: container_limits(c)
                            .get(STORAGE)
                            .copied()
                            .filter(|limit| !limit.is_zero()),
                    }
                })
                .collect(),
            size_limits: volumes.iter().filter_map(limit_of).collect(),
            usage: None,
        }
    }

    /// Whether it may exceed a limit of local storage, so that its usage is worth measuring.
    pub fn has_local_limits(&self) -> bool {
        !self.critical
            && (self.storage_limit.is_some()
                || !self.size_limits.is_empty()
                || self.containers.iter().any(|c| c.storage_limit.is_some()))
    }

    /// What it asks for of a resource, in whole units.
    pub(crate) fn request(&self, resource: Resource) -> u64 {
        let request = match resource {
            Resource::Memory => self.memory_request,
            Resource::Storage => self.storage_request,
            Resource::Inodes | Resource::Pids => Quantity::ZERO,
        };
        u64::try_from(request.value()).unwrap_or(0)
    }
}

impl Container {
    pub(crate) fn request(&self, resource: Resource) -> Quantity {
        match resource {
            Resource::Memory => self.memory_request,
            Resource::Storage => self.storage_request,
            Resource::Inodes | Resource::Pids => Quantity::ZERO,
        }
    }
}

fn amount(list: &ResourceList, name: &str) -> Quantity {
    list.get(name).copied().unwrap_or(Quantity::ZERO)
}
