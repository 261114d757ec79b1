//! What is watched for (behaviour.md 29.1).

use std::fmt;
use std::str::FromStr;

/// Something that a node can run short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Bytes of memory that are not in the working set.
    MemoryAvailable,
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

const ALL: [(Signal, &str); 8] = [
    (Signal::MemoryAvailable, "memory.available"),
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
