//! What is watched for (behaviour.md 29.1).

use std::fmt;
use std::str::FromStr;

/// Something that a node can run short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Bytes of memory that the kernel can give without taking it from anybody who uses it.
    MemoryAvailable,
    /// The same within what all pods together may have.
    AllocatableMemoryAvailable,
    /// Hundredths of a percent of the time in which nobody waited for memory: nodelet's own.
    MemoryUnstalled,
    /// Bytes free where the root directory is.
    NodefsAvailable,
    /// Inodes free where the root directory is.
    NodefsInodesFree,
    /// Bytes free where the images are.
    ImagefsAvailable,
    /// Inodes free where the images are.
    ImagefsInodesFree,
    /// Bytes free where the containers' layers are.
    ContainerfsAvailable,
    /// Inodes free where the containers' layers are.
    ContainerfsInodesFree,
    /// Process ids free.
    PidAvailable,
}

/// What a node has a condition for (behaviour.md 29.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pressure {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`: space or inodes.
    Disk,
    /// `PIDPressure`.
    Pid,
}

/// A file system with a signal of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Filesystem {
    /// Where the root directory is.
    Node,
    /// Where the images are.
    Image,
    /// Where the containers' layers are.
    Container,
}

/// What pods are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// Bytes of memory.
    Memory,
    /// Bytes on a file system.
    Storage,
    /// Inodes of a file system.
    Inodes,
    /// Processes.
    Pids,
}

impl Resource {
    /// As messages and annotations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Storage => "ephemeral-storage",
            Self::Inodes => "inodes",
            Self::Pids => "pids",
        }
    }
}

/// In the order in which they are acted upon: memory first (behaviour.md 29.10).
const ALL: [(Signal, &str); 10] = [
    (Signal::MemoryAvailable, "memory.available"),
    (Signal::AllocatableMemoryAvailable, "allocatableMemory.available"),
    (Signal::MemoryUnstalled, "memory.unstalled"),
    (Signal::NodefsAvailable, "nodefs.available"),
    (Signal::NodefsInodesFree, "nodefs.inodesFree"),
    (Signal::ImagefsAvailable, "imagefs.available"),
    (Signal::ImagefsInodesFree, "imagefs.inodesFree"),
    (Signal::ContainerfsAvailable, "containerfs.available"),
    (Signal::ContainerfsInodesFree, "containerfs.inodesFree"),
    (Signal::PidAvailable, "pid.available"),
];

impl Signal {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(s, _)| *s == self).map_or("", |(_, name)| name)
    }

    /// What is short when it is met.
    pub fn resource(self) -> Resource {
        match self {
            Self::MemoryAvailable | Self::AllocatableMemoryAvailable | Self::MemoryUnstalled => {
                Resource::Memory
            }
            Self::NodefsAvailable | Self::ImagefsAvailable | Self::ContainerfsAvailable => Resource::Storage,
            Self::NodefsInodesFree | Self::ImagefsInodesFree | Self::ContainerfsInodesFree => {
                Resource::Inodes
            }
            Self::PidAvailable => Resource::Pids,
        }
    }

    /// The node's condition that it brings.
    pub fn pressure(self) -> Pressure {
        match self.resource() {
            Resource::Memory => Pressure::Memory,
            Resource::Storage | Resource::Inodes => Pressure::Disk,
            Resource::Pids => Pressure::Pid,
        }
    }

    /// The file system that it is about, if any.
    pub fn filesystem(self) -> Option<Filesystem> {
        match self {
            Self::NodefsAvailable | Self::NodefsInodesFree => Some(Filesystem::Node),
            Self::ImagefsAvailable | Self::ImagefsInodesFree => Some(Filesystem::Image),
            Self::ContainerfsAvailable | Self::ContainerfsInodesFree => Some(Filesystem::Container),
            _ => None,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Signal {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        ALL.iter().find(|(_, name)| *name == text).map(|(s, _)| *s).ok_or(())
    }
}
