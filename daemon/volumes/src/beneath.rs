//! Paths that lead nowhere but below a directory, whatever somebody else makes of the tree meanwhile.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// How links on the way are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// None is followed.
    Refused,
    /// Those that lead to somewhere below the directory are followed.
    Beneath,
}

/// Opens a directory that is known by its absolute path, and not through a link in its last part.
pub(crate) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Ok(file.into())
}

/// Opens `path` below `dir`; `flags` as openat's.
///
/// # Errors
/// `CrossesDevices` (EXDEV) where the path leads out of `dir`, `FilesystemLoop` (ELOOP) where it has a link and none is followed.
pub(crate) fn open(dir: impl AsFd, path: &Path, flags: OFlag, links: Links) -> io::Result<OwnedFd> {
    resolve(dir, path, flags, links, ResolveFlag::empty())
}

/// As [`open`], for `name` in `dir` itself; EXDEV where something is mounted there.
pub(crate) fn open_same_mount(dir: impl AsFd, name: &OsStr, flags: OFlag) -> io::Result<OwnedFd> {
    resolve(dir, Path::new(name), flags, Links::Refused, ResolveFlag::RESOLVE_NO_XDEV)
}

fn resolve(
    dir: impl AsFd,
    path: &Path,
    flags: OFlag,
    links: Links,
    more: ResolveFlag,
) -> io::Result<OwnedFd> {
    let mut resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | more;
    if links == Links::Refused {
        resolve |= ResolveFlag::RESOLVE_NO_SYMLINKS;
    }
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    // The kernel gives up after a rename elsewhere in the tree that it cannot tell from an escape.
    for _ in 0..128 {
        match openat2(dir.as_fd(), path, how) {
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
    Err(nix::Error::EAGAIN.into())
}

/// Whether something is mounted at `name` in `dir`; false where there is nothing of that name.
pub(crate) fn is_mount_point(dir: impl AsFd, name: &OsStr) -> io::Result<bool> {
    match open_same_mount(dir, name, OFlag::O_PATH) {
        Ok(_) => Ok(false),
        Err(e) if e.raw_os_error() == Some(nix::libc::EXDEV) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// What an open file is known by in this process's table.
pub(crate) fn fd_path(fd: &OwnedFd) -> std::path::PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// Device and inode of an open file.
pub(crate) fn identity(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = nix::sys::stat::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}
