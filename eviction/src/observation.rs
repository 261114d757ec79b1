//! What was measured of the node, and how its file systems lie.

use std::collections::BTreeMap;

use podspec::Quantity;

use crate::signal::{Filesystem, Resource, Signal};

/// What is left of something, and how much there is of it in all. Bytes, inodes, process ids, or hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// What is left.
    pub available: u64,
    /// All there is.
    pub capacity: u64,
}

/// Which parts of pods and images are on which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where images are: `Node`, or `Image` where that is another one.
    pub images: Filesystem,
    /// Where the containers' layers are.
    pub containers: Filesystem,
}

impl Default for Layout {
    /// One file system for everything.
    fn default() -> Self {
        Self { images: Filesystem::Node, containers: Filesystem::Node }
    }
}

impl Layout {
    /// The file system that a signal is about, after those that are the same are taken for one.
    pub(crate) fn resolve(&self, filesystem: Filesystem) -> Filesystem {
        match filesystem {
            Filesystem::Node => Filesystem::Node,
            Filesystem::Image => self.images,
            Filesystem::Container => self.containers,
        }
    }

    /// Which parts of a pod count when pods are ranked for `signal` (behaviour.md 29.12).
    pub fn parts(&self, signal: Signal) -> Parts {
        let Some(filesystem) = signal.filesystem() else { return Parts::default() };
        let filesystem = self.resolve(filesystem);
        Parts { layers: self.containers == filesystem, local: filesystem == Filesystem::Node }
    }

    /// What may be removed of the node's own before a pod has to go (behaviour.md 29.9).
    pub fn reclaimable(&self, signal: Signal) -> Reclaim {
        let Some(filesystem) = signal.filesystem() else { return Reclaim::default() };
        let filesystem = self.resolve(filesystem);
        Reclaim { containers: self.containers == filesystem, images: self.images == filesystem }
    }
}

/// Parts of what pods have on disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The containers' writable layers.
    pub layers: bool,
    /// Logs and local volumes.
    pub local: bool,
}

/// What is to be removed of the node's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaim {
    /// Containers that have ended.
    pub containers: bool,
    /// Images that nobody uses.
    pub images: bool,
}

impl Reclaim {
    /// Whether there is nothing to remove.
    pub fn is_empty(self) -> bool {
        !self.containers && !self.images
    }
}

/// One measurement of the node. What could not be measured is not in it, and meets no threshold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// By signal.
    pub left: BTreeMap<Signal, Left>,
    /// How the file systems lie, as far as that is known.
    pub layout: Layout,
}

/// An amount of what `signal` measures, as a kubelet prints it.
pub(crate) fn quantity(signal: Signal, amount: u64) -> Quantity {
    match signal.resource() {
        Resource::Memory | Resource::Storage => Quantity::from_bytes(amount),
        Resource::Inodes | Resource::Pids => Quantity::from_units(i64::try_from(amount).unwrap_or(i64::MAX)),
    }
}
