//! What the node is like, as far as it decides which pods it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::Taint;
use podspec::ResourceList;

/// What the node runs short of (behaviour.md 29.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Memory.
    Memory,
    /// Space or inodes of a file system.
    Disk,
    /// Process ids.
    Pid,
}

impl fmt::Display for Pressure {
    /// The condition's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pid => "PIDPressure",
        })
    }
}

/// What the node is like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The node's name.
    pub name: String,
    /// Whether labels, taints and allocatable are those of the object in the API. Before it has been seen they are what
    /// the node is registered with.
    pub seen: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// What pods may have of it.
    pub allocatable: ResourceList,
    /// What it runs short of.
    pub pressures: BTreeSet<Pressure>,
    /// Whether the runtime keeps to `supplementalGroupsPolicy: Strict`.
    pub supplemental_groups_policy: bool,
    /// `allowedUnsafeSysctls`: names, or beginnings of names with a `*` behind them.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// As `uname -r` says; older kernels have fewer sysctls that are safe.
    pub kernel_version: String,
    /// Whether the kernel enforces AppArmor profiles.
    pub apparmor: bool,
    /// The gate `PodLevelResources`.
    pub pod_level_resources: bool,
    /// What the node declares to carry out (behaviour.md 32.13); `None` where the gate `NodeDeclaredFeatures` is off, so
    /// that nothing is asked of it.
    pub declared_features: Option<BTreeSet<String>>,
    /// Whether the node goes down.
    pub shutting_down: bool,
}
