//! What a cluster finds on this machine, and the one setting that it changes for its time.

use std::path::Path;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use thiserror::Error;

const MAX_INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Enough for some hundred pods: a shim and a log follower take one each.
const WANTED_INSTANCES: u32 = 1024;
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// A setting of the kernel cannot be read or changed.
#[derive(Debug, Error)]
#[error("{operation} {path}")]
pub struct MachineError {
    operation: &'static str,
    path: &'static str,
    source: std::io::Error,
}

/// Raises the number of inotify instances where it is too low; gives what it was.
pub(crate) fn raise_inotify_instances() -> Result<Option<u32>, MachineError> {
    let error = |operation| move |source| MachineError { operation, path: MAX_INSTANCES, source };
    let text = std::fs::read_to_string(MAX_INSTANCES).map_err(error("reading"))?;
    let was: u32 = text.trim().parse().unwrap_or(u32::MAX);
    if was >= WANTED_INSTANCES {
        return Ok(None);
    }
    std::fs::write(MAX_INSTANCES, WANTED_INSTANCES.to_string()).map_err(error("writing"))?;
    Ok(Some(was))
}

/// Puts the number of inotify instances back, unless somebody has set another one since.
pub(crate) fn restore_inotify_instances(was: u32) -> Result<(), MachineError> {
    let error = |operation| move |source| MachineError { operation, path: MAX_INSTANCES, source };
    let text = std::fs::read_to_string(MAX_INSTANCES).map_err(error("reading"))?;
    if text.trim() == WANTED_INSTANCES.to_string() {
        std::fs::write(MAX_INSTANCES, was.to_string()).map_err(error("writing"))?;
    }
    Ok(())
}

/// What is said to the user about the raised setting.
pub(crate) fn inotify_note(was: u32) -> String {
    format!(
        "fs.inotify.max_user_instances raised from {was} to {WANTED_INSTANCES} until the cluster is stopped"
    )
}

/// Whether this process may make a process less likely to be killed when memory runs out; many containers may not.
pub(crate) fn may_lower_oom_score() -> bool {
    let Ok(now) = std::fs::read_to_string(OOM_SCORE) else { return false };
    let Ok(score) = now.trim().parse::<i32>() else { return false };
    if score <= -1000 {
        return true;
    }
    let lowered = std::fs::write(OOM_SCORE, (score - 1).to_string()).is_ok();
    // Raising it again is always allowed.
    lowered && std::fs::write(OOM_SCORE, score.to_string()).is_ok()
}

/// Whether overlayfs can lie on the file system of this directory.
pub(crate) fn carries_overlay(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|fs| fs.filesystem_type() != OVERLAYFS_SUPER_MAGIC)
}

/// Why pods get no cgroups by their quality of service here.
#[must_use]
pub fn cgroup_note() -> String {
    let why = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "nodelet does not make them yet"
    } else {
        "cgroup v2 is not this machine's only hierarchy"
    };
    format!("QoS cgroups are off: {why}")
}

/// Whether the port map plugin can work: it writes rules through one of these.
pub(crate) fn has_packet_filter() -> bool {
    ["iptables", "nft"].iter().any(|program| {
        ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(program).exists())
    })
}
