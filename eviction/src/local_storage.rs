//! Limits of local storage: who exceeds one goes at once, whatever the node has left (behaviour.md 30).

use podspec::Quantity;

use crate::observation::Layout;
use crate::pods::{Candidate, Disk};
use crate::signal::Filesystem;

/// Which limit is exceeded (behaviour.md 30.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// `sizeLimit` of an emptyDir.
    EmptyDir,
    /// `ephemeral-storage` of the pod.
    Pod,
    /// `ephemeral-storage` of a container.
    Container,
}

impl Limit {
    /// As the label `eviction_signal` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptyDir => "emptydirfs.limit",
            Self::Pod => "ephemeralpodfs.limit",
            Self::Container => "ephemeralcontainerfs.limit",
        }
    }
}

/// Which limit the pod exceeds, if any, and how that is told.
pub fn exceeded(pod: &Candidate, layout: Layout) -> Option<(Limit, String)> {
    let usage = pod.usage.as_ref().filter(|_| !pod.critical)?;
    let above = |used: u64, limit: &Quantity| Quantity::from_bytes(used) > *limit;
    for (name, limit) in &pod.size_limits {
        let used = usage.empty_dirs.get(name).map_or(0, |dir| dir.used.bytes);
        if above(used, limit) {
            let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit \"{limit}\". ");
            return Some((Limit::EmptyDir, measured(message, used)));
        }
    }
    let used = usage.ephemeral_storage().bytes;
    if let Some(limit) = pod.storage_limit.filter(|limit| above(used, limit)) {
        let message =
            format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. ");
        return Some((Limit::Pod, measured(message, used)));
    }
    for container in &pod.containers {
        let (Some(limit), Some(usage)) = (container.storage_limit, usage.containers.get(&container.name))
        else {
            continue;
        };
        // A layer on a file system of its own does not count (behaviour.md 30.3).
        let layer = usage.layer.filter(|_| layout.containers != Filesystem::Image);
        let bytes = |part: Option<Disk>| part.map_or(0, |disk| disk.bytes);
        let used = bytes(layer).saturating_add(bytes(usage.logs));
        if above(used, &limit) {
            let name = &container.name;
            let message =
                format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". ");
            return Some((Limit::Container, measured(message, used)));
        }
    }
    None
}

fn measured(message: String, used: u64) -> String {
    format!("{message}It uses {}. ", Quantity::from_bytes(used))
}

#[cfg(test)]
mod tests;
