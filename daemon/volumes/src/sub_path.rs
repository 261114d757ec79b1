//! Parts of volumes as containers mount them (behaviour.md 20.19).
//!
//! A container can change its volumes while another one of the pod is made, links among them. So a part is opened below the
//! volume, the kernel seeing to it that nothing leads out, and what was opened is bound to a place that no container can reach;
//! the runtime is given that place.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use thiserror::Error;

use crate::beneath::{self, Links};
use crate::mounts;

/// Why a part cannot be mounted.
#[derive(Debug, Error)]
pub enum SubPathError {
    /// It begins at the root.
    #[error("error SubPath `{0}` must not be an absolute path")]
    Absolute(String),
    /// It leads upwards.
    #[error("unable to provision SubPath `{0}`: must not contain '..'")]
    Upwards(String),
    /// It is a link, or lies behind one, that leads out of the volume.
    #[error("subpath {path:?} not within volume path {volume:?}")]
    Outside {
        /// As it was asked for.
        path: String,
        /// Where the volume is.
        volume: PathBuf,
    },
    /// The file system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SubPathError {
    let path = path.to_owned();
    move |source| SubPathError::Io { action, path, source }
}

/// Opens the part `sub_path` of `volume`, and makes its directories where there is nothing of that name.
fn open_part(volume: &Path, sub_path: &str) -> Result<OwnedFd, SubPathError> {
    let path = Path::new(sub_path);
    if path.is_absolute() {
        return Err(SubPathError::Absolute(sub_path.to_owned()));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(SubPathError::Upwards(sub_path.to_owned()));
    }
    let whole = volume.join(path);
    let outside = |error: io::Error| match error.raw_os_error() {
        Some(nix::libc::EXDEV | nix::libc::ELOOP) => {
            SubPathError::Outside { path: sub_path.to_owned(), volume: volume.to_owned() }
        }
        _ => failed("opening", &whole)(error),
    };
    let top = beneath::open_dir(volume).map_err(failed("opening", volume))?;
    match beneath::open(&top, path, OFlag::O_PATH, Links::Beneath) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other.map_err(outside),
    }
    // As the volume itself, so that whoever may use the one may use the other.
    let mode = fstat(&top).map_err(|e| failed("looking at", volume)(e.into()))?.st_mode & 0o7777;
    let mode = Mode::from_bits_truncate(mode);
    let mut dir = top;
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let next = |dir: &OwnedFd| {
            beneath::open(dir, Path::new(name), OFlag::O_RDONLY | OFlag::O_DIRECTORY, Links::Refused)
        };
        dir = match next(&dir) {
            Ok(next) => next,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match mkdirat(&dir, name, Mode::from_bits_truncate(0o700)) {
                    Ok(()) | Err(nix::Error::EEXIST) => {}
                    Err(e) => return Err(failed("making", &whole)(e.into())),
                }
                let made = next(&dir).map_err(outside)?;
                fchmod(&made, mode).map_err(|e| failed("making", &whole)(e.into()))?;
                made
            }
            Err(e) => return Err(outside(e)),
        };
    }
    Ok(dir)
}

/// Binds the part `sub_path` of `volume` to `place`, whose parent directory is there. What is bound there already stays where it is
/// the same.
pub(crate) fn bind(volume: &Path, sub_path: &str, place: &Path) -> Result<(), SubPathError> {
    let part = open_part(volume, sub_path)?;
    let wanted = beneath::identity(&part).map_err(failed("looking at", place))?;
    if mounts::is_mount_point(place).map_err(failed("looking at", place))? {
        let there = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_PATH | nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(place);
        if there.and_then(beneath::identity).is_ok_and(|there| there == wanted) {
            return Ok(());
        }
        mounts::unmount(place).map_err(failed("unmounting", place))?;
    }
    let stat = fstat(&part).map_err(|e| failed("looking at", place)(e.into()))?;
    let is_dir = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR;
    make_place(place, is_dir).map_err(failed("making", place))?;
    mounts::bind(&beneath::fd_path(&part), place, false).map_err(failed("mounting", place))
}

/// An empty directory or file to mount on.
fn make_place(place: &Path, is_dir: bool) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() == is_dir && !found.is_symlink() => return Ok(()),
        // Of an earlier container, whose part was of the other kind.
        Ok(found) if found.is_dir() => fs::remove_dir(place)?,
        Ok(_) => fs::remove_file(place)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    if is_dir {
        fs::create_dir(place)?;
        return fs::set_permissions(place, fs::Permissions::from_mode(0o750));
    }
    OpenOptions::new().write(true).create_new(true).mode(0o640).open(place).map(drop)
}

#[cfg(test)]
mod tests;
