//! The group of a volume's files: `fsGroup` and its change policy.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::{Dir, OwningIter, Type};
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat};
use nix::unistd::{Gid, fchown, fchownat};

use crate::beneath;

/// What members of the group may do with the files of a volume that containers may write.
const READ_WRITE: u32 = 0o660;
/// And with the others.
const READ_ONLY: u32 = 0o440;
/// Directories can be entered, and what is made in them belongs to the group.
const DIRECTORY: u32 = 0o2110;
/// Directories in directories. A path that programs can use is shorter.
const MOST_DEEP: usize = 1024;

/// Who is to own the files of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// `spec.securityContext.fsGroup`.
    pub group: u32,
    /// `fsGroupChangePolicy: OnRootMismatch`: nothing is changed where the volume's root is right already.
    pub only_on_mismatch: bool,
}

/// A directory whose entries are being given.
struct Level {
    dir: OwnedFd,
    entries: OwningIter,
}

impl Level {
    fn new(dir: OwnedFd) -> io::Result<Self> {
        let entries = Dir::from_fd(dir.try_clone()?)?.into_iter();
        Ok(Self { dir, entries })
    }
}

/// Gives everything at and below `root` to the group. Links are given themselves, and nothing behind them; nothing that is mounted
/// further below is entered.
pub(crate) fn give(root: &Path, ownership: Ownership, read_only: bool) -> io::Result<()> {
    let top = beneath::open_dir(root)?;
    let group = Gid::from_raw(ownership.group);
    let mask = if read_only { READ_ONLY } else { READ_WRITE };
    if ownership.only_on_mismatch {
        let stat = fstat(&top)?;
        let wanted = mask | DIRECTORY;
        if stat.st_gid == ownership.group && stat.st_mode & wanted == wanted {
            return Ok(());
        }
    }
    let mut stack = vec![Level::new(top)?];
    while let Some(level) = stack.last_mut() {
        let Some(entry) = level.entries.next() else {
            if let Some(done) = stack.pop() {
                // Last, so that a walk that was cut off is not taken for a whole one: its root is still wrong.
                give_dir(&done.dir, group, mask)?;
            }
            continue;
        };
        let entry = entry?;
        let dir = &level.dir;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
        let is_dir = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            None => {
                let stat = fstatat(dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
                stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
            }
        };
        if is_dir {
            match beneath::open_same_mount(dir, &name, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                Ok(inner) if stack.len() < MOST_DEEP => stack.push(Level::new(inner)?),
                Ok(_) => return Err(io::Error::other(format!("more than {MOST_DEEP} directories deep"))),
                // Another mount, or gone meanwhile.
                Err(e)
                    if e.raw_os_error() == Some(nix::libc::EXDEV) || e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        } else {
            match give_file(dir, &name, group, mask) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn give_dir(dir: impl AsFd, group: Gid, mask: u32) -> io::Result<()> {
    fchown(dir.as_fd(), None, Some(group))?;
    // After the owner, which the kernel takes the setgid bit away for.
    let mode = fstat(dir.as_fd())?.st_mode & 0o7777;
    nix::sys::stat::fchmod(dir.as_fd(), Mode::from_bits_truncate(mode | mask | DIRECTORY))?;
    Ok(())
}

fn give_file(dir: impl AsFd, name: &OsStr, group: Gid, mask: u32) -> io::Result<()> {
    // Held, so that what is changed is what was looked at.
    let file = beneath::open(
        dir.as_fd(),
        Path::new(name),
        OFlag::O_PATH | OFlag::O_NOFOLLOW,
        beneath::Links::Refused,
    );
    let file: OwnedFd = file?;
    fchownat(&file, "", None, Some(group), AtFlags::AT_EMPTY_PATH)?;
    let mode = fstat(&file)?.st_mode;
    if mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits() {
        // It has no mode of its own.
        return Ok(());
    }
    let mode = mode & 0o7777;
    fchmodat(
        nix::fcntl::AT_FDCWD,
        &beneath::fd_path(&file),
        Mode::from_bits_truncate(mode | mask),
        FchmodatFlags::FollowSymlink,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
