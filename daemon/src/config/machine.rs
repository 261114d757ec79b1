//! Checks of the machine that precede everything else: swap, cgroup version, kernel tunables.
//!
//! behaviour.md 28.1, 21.14, 21.15. Each check reads files below given roots, so that tests can bring their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cgroups::{Hierarchy, Mount, mount_at};

use super::Config;

/// The machine is not in the state that the configuration demands.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(
        "running with swap on is not supported, please disable swap or set failSwapOn: false; active swap: {0}"
    )]
    Swap(String),
    #[error(
        "the machine does not have the unified cgroup v2 hierarchy ({} is of type {found}): boot it with \
         systemd.unified_cgroup_hierarchy=1 on the kernel's command line, or run without limits for whole pods by \
         failCgroupV1: false, cgroupsPerQOS: false and enforceNodeAllocatable: []", path.display()
    )]
    CgroupV1 { path: PathBuf, found: String },
    #[error("kernel tunable {} is {found}, but protectKernelDefaults demands {wanted}", path.display())]
    Tunable { path: PathBuf, found: String, wanted: &'static str },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl MachineError {
    /// Whether another configuration would do on this machine as it is.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::CgroupV1 { .. })
    }
}

/// Where the hierarchy is mounted.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// Runs all checks.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn check(config: &Config) -> Result<Hierarchy, MachineError> {
    if config.fail_swap_on {
        refuse_swap(Path::new("/proc/swaps"))?;
    }
    let version = cgroup_version(Path::new(CGROUPS), config)?;
    if config.protect_kernel_defaults {
        require_tunables(Path::new("/proc/sys"))?;
    }
    Ok(version)
}

/// Any line beyond the header of /proc/swaps is active swap; no such file means no swap.
fn refuse_swap(swaps: &Path) -> Result<(), MachineError> {
    let text = match fs::read_to_string(swaps) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(MachineError::Io { path: swaps.to_path_buf(), source }),
    };
    let devices: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if devices.is_empty() { Ok(()) } else { Err(MachineError::Swap(devices.join(", "))) }
}

/// The unified hierarchy; another one only where both settings do without it (behaviour.md 21.14).
fn cgroup_version(mount: &Path, config: &Config) -> Result<Hierarchy, MachineError> {
    let found =
        mount_at(mount).map_err(|error| MachineError::Io { path: error.path, source: error.source })?;
    match found {
        Mount::Unified => Ok(Hierarchy::V2),
        Mount::Other(_) if !config.fail_cgroup_v1 && !config.cgroups_per_qos => Ok(Hierarchy::V1),
        Mount::Other(magic) => {
            Err(MachineError::CgroupV1 { path: mount.to_path_buf(), found: format!("{magic:#x}") })
        }
    }
}

/// What a kubelet sets these to; with protectKernelDefaults they must be so already.
const TUNABLES: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

fn require_tunables(root: &Path) -> Result<(), MachineError> {
    for (name, wanted) in TUNABLES {
        let path = root.join(name);
        let found =
            fs::read_to_string(&path).map_err(|source| MachineError::Io { path: path.clone(), source })?;
        if found.trim() != *wanted {
            return Err(MachineError::Tunable { path, found: found.trim().to_owned(), wanted });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
