//! The files of the hierarchy, read and written below one directory.
//!
//! Each level of a path is opened by its name from the level above, and links are not followed: nothing leads out of the
//! hierarchy. Every error names operation and path.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{UnlinkatFlags, unlinkat};
use thiserror::Error;

/// No file of a cgroup is longer than this; what is, is cut.
const MAX_FILE: u64 = 1 << 20;
/// A cgroup with more children than this is not looked through to the end.
const MAX_CHILDREN: usize = 16_384;
/// As deep as a pod's cgroups may be nested: those within a container are the container's own.
const MAX_DEPTH: usize = 32;

/// What is mounted where the hierarchy should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// The unified hierarchy.
    Unified,
    /// Something else: the old hierarchies, or nothing of the kind. The file system's magic number.
    Other(i64),
}

/// What is mounted at `path` (`/sys/fs/cgroup` but in tests).
///
/// # Errors
/// It cannot be asked.
pub fn mount_at(path: &Path) -> Result<Mount, FileError> {
    let found =
        statfs(path).map_err(|errno| FileError::new("asking for the file system of", path, errno.into()))?;
    let kind = found.filesystem_type();
    Ok(if kind == CGROUP2_SUPER_MAGIC { Mount::Unified } else { Mount::Other(kind.0 as i64) })
}

/// An operation on a file of the hierarchy has failed.
#[derive(Debug, Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct FileError {
    /// What was done, as a verb.
    pub operation: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl FileError {
    fn new(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { operation, path: path.into(), source }
    }

    fn errno(&self) -> Option<Errno> {
        self.source.raw_os_error().map(Errno::from_raw)
    }

    /// Whether there is no such file, or its cgroup is being removed.
    pub fn is_gone(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENOENT | Errno::ENODEV))
    }

    /// Whether processes or cgroups are in the way.
    pub fn is_busy(&self) -> bool {
        matches!(self.errno(), Some(Errno::EBUSY | Errno::ENOTEMPTY))
    }
}

/// The directory below which everything is.
#[derive(Debug)]
pub struct CgroupFiles {
    root: OwnedFd,
    path: PathBuf,
}

impl CgroupFiles {
    /// Opens the mount, or another directory in tests.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let root = nix::fcntl::open(path, DIRECTORY, Mode::empty())
            .map_err(|errno| FileError::new("opening", path, errno.into()))?;
        Ok(Self { root, path: path.to_owned() })
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The full path of a cgroup, for messages.
    pub fn full_path(&self, cgroup: &str) -> PathBuf {
        self.path.join(cgroup.trim_start_matches('/'))
    }

    fn error(&self, operation: &'static str, cgroup: &str, file: &str, errno: Errno) -> FileError {
        FileError::new(operation, self.full_path(cgroup).join(file), errno.into())
    }

    fn directory(&self, cgroup: &str) -> Result<OwnedFd, FileError> {
        let mut current = self
            .root
            .try_clone()
            .map_err(|error| FileError::new("opening", self.full_path(cgroup), error))?;
        for level in levels(cgroup) {
            if level == ".." {
                return Err(self.error("opening", cgroup, "", Errno::EINVAL));
            }
            current = openat(&current, level, DIRECTORY, Mode::empty())
                .map_err(|errno| self.error("opening", cgroup, "", errno))?;
        }
        Ok(current)
    }

    /// Whether the cgroup is there.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn exists(&self, cgroup: &str) -> Result<bool, FileError> {
        match self.directory(cgroup) {
            Ok(_) => Ok(true),
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the directory of a cgroup whose parent is there; one that is there already is left as it is.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn make(&self, cgroup: &str) -> Result<(), FileError> {
        let (parent, name) = cgroup.rsplit_once('/').unwrap_or(("", cgroup));
        let directory = self.directory(parent)?;
        match mkdirat(&directory, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(self.error("making", cgroup, "", errno)),
        }
    }

    /// Writes `content` to a file that is there.
    ///
    /// # Errors
    /// There is no such file, or the kernel does not take the value.
    pub fn write(&self, cgroup: &str, file: &str, content: &str) -> Result<(), FileError> {
        let directory = self.directory(cgroup)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd = openat(&directory, file, flags, Mode::empty())
            .map_err(|errno| self.error("opening", cgroup, file, errno))?;
        // One write: the kernel takes each as a whole value.
        File::from(fd)
            .write_all(content.as_bytes())
            .map_err(|error| FileError::new("writing", self.full_path(cgroup).join(file), error))
    }

    /// Reads a file; at most 1 MiB of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, cgroup: &str, file: &str) -> Result<Vec<u8>, FileError> {
        let directory = self.directory(cgroup)?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd = openat(&directory, file, flags, Mode::empty())
            .map_err(|errno| self.error("opening", cgroup, file, errno))?;
        let mut content = Vec::new();
        File::from(fd)
            .take(MAX_FILE)
            .read_to_end(&mut content)
            .map_err(|error| FileError::new("reading", self.full_path(cgroup).join(file), error))?;
        Ok(content)
    }

    /// As [`Self::read`]; none where there is no such file or cgroup.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read_if_there(&self, cgroup: &str, file: &str) -> Result<Option<Vec<u8>>, FileError> {
        match self.read(cgroup, file) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of the cgroups in this one, in order.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn children(&self, cgroup: &str) -> Result<Vec<String>, FileError> {
        let directory = self.directory(cgroup)?;
        let failed = |errno| self.error("reading", cgroup, "", errno);
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory).map_err(failed)?.iter() {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let is_directory = entry.file_type() == Some(nix::dir::Type::Directory);
            if is_directory && name != "." && name != ".." && names.len() < MAX_CHILDREN {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The paths, from `cgroup`, of all cgroups below it, each behind those below itself. What goes away meanwhile is
    /// left out.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn below(&self, cgroup: &str) -> Result<Vec<String>, FileError> {
        let mut found = Vec::new();
        let mut level = vec![String::new()];
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for path in &level {
                let children = match self.children(&format!("{cgroup}/{path}")) {
                    Err(error) if error.is_gone() => continue,
                    children => children?,
                };
                next.extend(
                    children
                        .iter()
                        .map(|name| if path.is_empty() { name.clone() } else { format!("{path}/{name}") }),
                );
            }
            if next.is_empty() || found.len() > MAX_CHILDREN {
                break;
            }
            found.extend(next.iter().cloned());
            level = next;
        }
        found.reverse();
        Ok(found)
    }

    /// Removes the directory of a cgroup without children; one that is gone is removed.
    ///
    /// # Errors
    /// It is busy, or the kernel refuses it otherwise.
    pub fn remove(&self, cgroup: &str) -> Result<(), FileError> {
        let (parent, name) = cgroup.rsplit_once('/').unwrap_or(("", cgroup));
        let removed = self.directory(parent).and_then(|directory| {
            unlinkat(&directory, name, UnlinkatFlags::RemoveDir)
                .map_err(|errno| self.error("removing", cgroup, "", errno))
        });
        match removed {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }
}

const DIRECTORY: OFlag = OFlag::from_bits_truncate(
    OFlag::O_RDONLY.bits() | OFlag::O_DIRECTORY.bits() | OFlag::O_CLOEXEC.bits() | OFlag::O_NOFOLLOW.bits(),
);

fn levels(cgroup: &str) -> impl Iterator<Item = &str> {
    cgroup.split('/').filter(|level| !level.is_empty())
}

#[cfg(test)]
mod tests;
