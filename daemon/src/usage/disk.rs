//! What pods take of the node's disk: writable layers, logs, volumes (behaviour.md 30, 44.2).
//!
//! Writable layers are counted by the runtime, the rest here, one pod after the other on a thread of the lowest priority. What was
//! counted is kept with its time until the pod is gone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::Instant;

use super::claims::ClaimVolume;
use super::count;
use super::figures::{Fs, PodUsage, VolumeKind, VolumeUsage};
use super::machine::file_system;
use super::runtime::Layer;

/// The lowest priority; that of the disk follows from it.
const NICE: i32 = 19;
const STACK_BYTES: usize = 512 << 10;
/// Volumes of one pod that are looked at.
const MAX_VOLUMES: usize = 1000;

/// Where a pod has something on the disk.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) uid: String,
    /// `ROOT/pods/UID/volumes`.
    pub(super) volumes: PathBuf,
    /// Of its containers.
    pub(super) logs: PathBuf,
    pub(super) claims: Vec<ClaimVolume>,
}

#[derive(Debug)]
struct PodDisk {
    at: Instant,
    volumes: Vec<VolumeUsage>,
    /// By the container's name.
    logs: BTreeMap<String, Fs>,
}

/// What was counted so far; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    counted: Arc<Mutex<HashMap<String, PodDisk>>>,
    /// By the container's id.
    layers: Arc<Mutex<HashMap<String, Fs>>>,
}

impl Disk {
    /// The pods whose disk was counted longer than `max_age` ago, or never. What was counted of others than `uids` is forgotten.
    pub(super) fn due(&self, uids: &[&str], max_age: Duration, now: Instant) -> HashSet<String> {
        let known: HashSet<&str> = uids.iter().copied().collect();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|uid, _| known.contains(uid.as_str()));
        let is_due = |uid: &&&str| {
            counted.get(**uid).is_none_or(|disk| now.saturating_duration_since(disk.at) > max_age)
        };
        uids.iter().filter(is_due).map(|uid| (*uid).to_owned()).collect()
    }

    /// Takes over what the runtime says of writable layers.
    pub(super) fn layers(&self, layers: HashMap<String, Layer>) {
        let mut systems: HashMap<String, Option<Fs>> = HashMap::new();
        let mut all = HashMap::new();
        for (id, layer) in layers {
            let fs =
                systems.entry(layer.place).or_insert_with_key(|place| file_system(Path::new(place)).ok());
            all.insert(id, fs.unwrap_or_default().part(layer.time, layer.bytes, layer.inodes));
        }
        *self.layers.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Counts what these pods have; what is done when this is dropped is not lost, and the rest is counted all the same. The turn is over
    /// when all are counted, so that no two walks go on at once.
    pub(super) async fn count(&self, pods: Vec<Places>, turn: OwnedMutexGuard<()>) {
        let (done, wait) = oneshot::channel();
        let counted = Arc::clone(&self.counted);
        let thread = std::thread::Builder::new().name("disk-usage".to_owned()).stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            // Without it, it is only less kind to others.
            let _ = rustix::process::setpriority_process(None, NICE);
            for pod in pods {
                let disk = PodDisk { volumes: volumes(&pod), logs: logs(&pod.logs), at: Instant::now() };
                counted.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.uid, disk);
            }
            drop(turn);
            let _ = done.send(());
        });
        match started {
            Ok(_) => drop(wait.await),
            Err(error) => tracing::warn!(%error, "disk use cannot be counted: starting a thread"),
        }
    }

    /// Fills in what was counted of `pods`.
    pub(super) fn fill(&self, pods: &mut [PodUsage]) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for pod in pods {
            for container in &mut pod.containers {
                container.rootfs = layers.get(&container.id).copied();
            }
            if let Some(disk) = counted.get(&pod.uid) {
                for container in &mut pod.containers {
                    container.logs = disk.logs.get(&container.name).copied();
                }
                let runs = |name: &String| pod.containers.iter().any(|container| container.name == *name);
                let ended = disk.logs.iter().filter(|(name, _)| !runs(name));
                pod.ended_logs = ended.map(|(name, fs)| (name.clone(), *fs)).collect();
                pod.volumes.clone_from(&disk.volumes);
                pod.ephemeral_storage = ephemeral_storage(pod, &disk.logs);
            }
        }
    }
}

/// Writable layers, logs (also those of containers that have ended) and volumes of the node's disk, with the figures of the file system
/// that the first of them is on.
fn ephemeral_storage(pod: &PodUsage, logs: &BTreeMap<String, Fs>) -> Option<Fs> {
    let layers = pod.containers.iter().filter_map(|container| container.rootfs);
    let volumes = pod.volumes.iter().filter(|volume| volume.is_ephemeral()).map(|volume| volume.fs);
    let parts: Vec<Fs> = logs.values().copied().chain(volumes).chain(layers).collect();
    let first = *parts.first()?;
    let sum = |figure: fn(&Fs) -> Option<u64>| parts.iter().filter_map(figure).reduce(u64::saturating_add);
    // No newer than the oldest part of it.
    let time = parts.iter().map(|fs| fs.time).min().unwrap_or_else(Timestamp::now);
    let is_whole = pod.containers.iter().all(|container| container.rootfs.is_some());
    Some(Fs {
        is_partial: !is_whole || parts.iter().any(|fs| fs.is_partial),
        ..first.part(time, sum(|fs| fs.used), sum(|fs| fs.inodes_used))
    })
}

/// What is below `logs`, for each container.
fn logs(logs: &Path) -> BTreeMap<String, Fs> {
    let containers = std::fs::read_dir(logs).into_iter().flatten().flatten().take(MAX_VOLUMES);
    let usage = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let fs = entry.file_type().ok()?.is_dir().then(|| count::usage(&entry.path()))?;
        Some((name, fs.ok()?))
    };
    containers.filter_map(usage).collect()
}

/// What the pod's volumes take. Those of which nothing can be read are left out.
fn volumes(pod: &Places) -> Vec<VolumeUsage> {
    let mut found = Vec::new();
    let Ok(plugins) = std::fs::read_dir(&pod.volumes) else { return found };
    for plugin in plugins.flatten().take(MAX_VOLUMES) {
        let of_plugin = plugin.file_name();
        let Some(own) = of_plugin.to_str().map(is_own) else { continue };
        let Ok(volumes) = std::fs::read_dir(plugin.path()) else { continue };
        for volume in volumes.flatten() {
            let (Ok(directory), path) = (volume.file_name().into_string(), volume.path()) else { continue };
            let claim = (!own).then(|| claim(&pod.claims, &directory)).flatten();
            let Ok(fs) = (if own { count::usage(&path) } else { file_system(&path).map_err(Into::into) })
            else {
                continue;
            };
            let (name, kind) = match claim {
                Some(claim) => (claim.name.clone(), VolumeKind::Claim(claim.claim.clone())),
                None if own && is_mounted(&path) => (directory, VolumeKind::Memory),
                None if own => (directory, VolumeKind::Local),
                None => (directory, VolumeKind::Other),
            };
            found.push(VolumeUsage { name, kind, fs });
            if found.len() >= MAX_VOLUMES {
                return found;
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Kinds of volumes that are made for the pod alone, named after the volume in its spec.
fn is_own(plugin: &str) -> bool {
    matches!(
        plugin,
        "kubernetes.io~empty-dir"
            | "kubernetes.io~configmap"
            | "kubernetes.io~secret"
            | "kubernetes.io~downward-api"
            | "kubernetes.io~projected"
    )
}

/// The claim whose persistent volume has this name.
fn claim<'a>(claims: &'a [ClaimVolume], persistent_volume: &str) -> Option<&'a ClaimVolume> {
    claims.iter().find(|claim| claim.persistent_volume.as_deref() == Some(persistent_volume))
}

/// Whether a volume is a file system of its own: in memory, then.
fn is_mounted(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|meta| meta.dev());
    path.parent().is_some_and(|above| device(path) != device(above))
}

#[cfg(test)]
mod tests;
