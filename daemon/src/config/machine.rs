//! Checks of the machine that precede everything else: swap, cgroup version, kernel tunables.
//!
//! behaviour.md 28.1, 21.14, 21.15. Each check reads files below given roots, so that tests can bring their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Config;

/// The machine is not in the state that the configuration demands.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(
        "running with swap on is not supported, please disable swap or set failSwapOn: false; active swap: {0}"
    )]
    Swap(String),
    #[error(
        "the machine uses cgroup v1, which is refused by default; boot with cgroup v2 or set failCgroupV1: false \
         (/sys/fs/cgroup is of type {0})"
    )]
    CgroupV1(String),
    #[error("kernel tunable {} is {found}, but protectKernelDefaults demands {wanted}", path.display())]
    Tunable { path: PathBuf, found: String, wanted: &'static str },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Which cgroup hierarchy the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    V1,
    V2,
}

/// Runs all checks.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn check(config: &Config) -> Result<CgroupVersion, MachineError> {
    if config.fail_swap_on {
        refuse_swap(Path::new("/proc/swaps"))?;
    }
    let (version, filesystem) = cgroup_version()?;
    if version == CgroupVersion::V1 && config.fail_cgroup_v1 {
        return Err(MachineError::CgroupV1(filesystem));
    }
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

fn cgroup_version() -> Result<(CgroupVersion, String), MachineError> {
    let root = Path::new("/sys/fs/cgroup");
    let statfs = nix::sys::statfs::statfs(root)
        .map_err(|error| MachineError::Io { path: root.to_path_buf(), source: error.into() })?;
    let kind = statfs.filesystem_type();
    if kind == nix::sys::statfs::CGROUP2_SUPER_MAGIC {
        return Ok((CgroupVersion::V2, "cgroup2".to_owned()));
    }
    Ok((CgroupVersion::V1, format!("{:#x}", kind.0)))
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
