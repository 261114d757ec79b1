//! What is mounted, and what is mounted here.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::beneath;

/// Everything that is mounted at `path` or below it, the deepest and newest first.
pub(crate) fn below(path: &Path) -> Result<Vec<PathBuf>, procfs::ProcError> {
    let table = procfs::process::Process::myself()?.mountinfo()?;
    let mut found: Vec<PathBuf> =
        table.into_iter().map(|m| m.mount_point).filter(|m| m.starts_with(path)).collect();
    // The table has the older ones first; what lies over another one at the same place has to go before it.
    found.reverse();
    found.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    Ok(found)
}

/// Every place in this mount namespace whose path `wanted` accepts.
pub(crate) fn places(wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, procfs::ProcError> {
    let table = procfs::process::Process::myself()?.mountinfo()?;
    Ok(table.into_iter().map(|m| m.mount_point).filter(|m| wanted(m)).collect())
}

/// Whether something is mounted at `path`, which may be missing.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(true);
    };
    match beneath::open_dir(parent) {
        Ok(parent) => beneath::is_mount_point(&parent, name),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Mounts a file system that has no device.
pub(crate) fn mount_nodev(kind: &str, path: &Path, options: &str) -> io::Result<()> {
    let options = Some(options).filter(|options| !options.is_empty());
    mount(Some(kind), path, Some(kind), MsFlags::MS_RELATIME, options).map_err(Into::into)
}

/// Shows `source` at `path`, too; `read_only` there alone.
pub(crate) fn bind(source: &Path, path: &Path, read_only: bool) -> io::Result<()> {
    let none: Option<&str> = None;
    mount(Some(source), path, none, MsFlags::MS_BIND, none)?;
    if read_only {
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        if let Err(error) = mount(Some(source), path, none, again, none) {
            // Not left behind writable.
            let _ = umount2(path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH);
            return Err(error.into());
        }
    }
    Ok(())
}

/// Takes away what is mounted at `path`. What somebody still uses is taken out of the tree all the same, and ends with its last
/// user: nothing of a pod runs any more by then, and nothing below the place can be reached through the mount.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(()),
        // Nothing is mounted there, or there is no such place any more.
        Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
        Err(nix::Error::EBUSY) => {
            umount2(path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH).map_err(Into::into)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the kernel can keep a tmpfs out of the swap (Linux 6.4).
pub(crate) fn knows_noswap() -> bool {
    let release = fs::read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = std::ffi::OsStr::from_bytes(&release).to_string_lossy().into_owned();
    let mut parts = release.split(['.', '-', '\n']).map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (6, 4)
}

/// Makes mounts below `path` known to every mount namespace that shows it, and the other way round. A path in a mount that is
/// shared already stays as it is; else it becomes a mount of its own.
pub(crate) fn share(path: &Path) -> io::Result<()> {
    let table = procfs::process::Process::myself()
        .and_then(|me| me.mountinfo())
        .map_err(|e| io::Error::other(e.to_string()))?;
    let covering = table.into_iter().filter(|m| path.starts_with(&m.mount_point));
    let covering = covering.max_by_key(|m| m.mount_point.as_os_str().len());
    let shared = covering.as_ref().is_some_and(|m| {
        m.opt_fields.iter().any(|field| matches!(field, procfs::process::MountOptFields::Shared(_)))
    });
    if shared {
        return Ok(());
    }
    let none: Option<&str> = None;
    if covering.is_none_or(|m| m.mount_point != path) {
        mount(Some(path), path, none, MsFlags::MS_BIND, none)?;
    }
    mount(none, path, none, MsFlags::MS_SHARED, none).map_err(Into::into)
}
