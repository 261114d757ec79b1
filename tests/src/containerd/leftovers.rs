//! What a containerd that was killed leaves behind: shims, containers, mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::{Process, all_processes};
use thiserror::Error;

use super::NAMESPACE;
use crate::wait::{self, Look, WaitError};

const SHIM: &str = "containerd-shim-runc-v2";
const BUNDLES: &str = "io.containerd.runtime.v2.task/k8s.io";
const END_LIMIT: Duration = Duration::from_secs(20);

/// Why something cannot be cleared away.
#[derive(Debug, Error)]
pub enum LeftoverError {
    /// /proc cannot be read.
    #[error("looking for containers that were left")]
    Look(#[from] procfs::ProcError),
    /// A process does not end.
    #[error("ending containers that were left")]
    End(#[from] WaitError),
    /// A mount cannot be undone.
    #[error("unmounting {path}", path = path.display())]
    Unmount {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
}

/// Kills the shims of the containerd with this socket, and all that runs below them.
pub(super) async fn end_shims(socket: &Path) -> Result<(), LeftoverError> {
    let look = || async {
        match below_shims(socket) {
            Err(error) => Look::NotYet(error.to_string()),
            Ok(left) if left.is_empty() => Look::There(()),
            Ok(left) => {
                for pid in &left {
                    // It may have ended by itself meanwhile.
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
                }
                Look::NotYet(format!("processes {left:?}"))
            }
        }
    };
    Ok(wait::until("containers to end", END_LIMIT, look).await?)
}

/// Shims and their descendants. A shim adopts the orphans of its containers, so that all of them are below it.
fn below_shims(socket: &Path) -> Result<BTreeSet<i32>, LeftoverError> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut open = Vec::new();
    for process in all_processes()?.filter_map(Result::ok) {
        // One that ends meanwhile is not there any more.
        let Ok(stat) = process.stat() else { continue };
        if stat.state == 'Z' {
            continue;
        }
        children.entry(stat.ppid).or_default().push(stat.pid);
        if is_shim_of(&process, socket) {
            open.push(stat.pid);
        }
    }
    let mut found = BTreeSet::new();
    while let Some(pid) = open.pop() {
        if found.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    Ok(found)
}

fn is_shim_of(process: &Process, socket: &Path) -> bool {
    let Ok(line) = process.cmdline() else { return false };
    let is_shim = line.first().is_some_and(|program| program.ends_with(SHIM));
    is_shim && line.windows(2).any(|pair| pair[0] == "-address" && Path::new(&pair[1]) == socket)
}

/// Removes the cgroups of containers whose processes were killed; a runtime that ends in order does it itself.
pub(super) fn remove_cgroups(state: &Path) -> Result<(), LeftoverError> {
    // Containers that were not removed still have their bundle here, under their id.
    let Ok(bundles) = std::fs::read_dir(state.join(BUNDLES)) else { return Ok(()) };
    let ids: Vec<_> = bundles.filter_map(Result::ok).map(|bundle| bundle.file_name()).collect();
    let mounts = Process::myself()?.mountinfo()?;
    for hierarchy in mounts.into_iter().filter(|mount| mount.fs_type.starts_with("cgroup")) {
        for id in &ids {
            // Most hierarchies have it; what is in use or never was there stays as it is.
            let _ = std::fs::remove_dir(hierarchy.mount_point.join(NAMESPACE).join(id));
        }
    }
    Ok(())
}

/// Undoes all mounts below these directories, the last one first.
pub(super) fn unmount(dirs: &[&Path]) -> Result<(), LeftoverError> {
    let mounts = Process::myself()?.mountinfo()?;
    let mut points: Vec<PathBuf> = mounts.into_iter().map(|mount| unescaped(&mount.mount_point)).collect();
    points.retain(|point| dirs.iter().any(|dir| point.starts_with(dir)));
    for path in points.into_iter().rev() {
        match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Gone with one that lay above it.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(source) => return Err(LeftoverError::Unmount { path, source }),
        }
    }
    Ok(())
}

/// The kernel writes blanks and the like as three octal digits.
fn unescaped(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 4;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_blank_is_found_under_its_real_name() {
        assert_eq!(unescaped(Path::new("/a\\040b/c\\134d")), Path::new("/a b/c\\d"));
        assert_eq!(unescaped(Path::new("/a\\04")), Path::new("/a\\04"));
    }
}
