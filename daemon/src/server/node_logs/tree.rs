//! A directory that nothing leads out of: the kernel walks each path and stops where it would leave (openat2, RESOLVE_BENEATH).
//!
//! Links are followed as long as they stay inside. One whose target is an absolute path below the directory, such as those of
//! `/var/log/containers`, is followed as what it means. Whoever can write to the directory, a pod with a hostPath for example, can so not have
//! the daemon read other files for somebody who may read logs; a kubelet follows every link.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};

/// Links from one absolute path to the next.
const LINKS: usize = 8;

/// What may be read below one directory.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

/// A file or directory that was opened.
#[derive(Debug)]
pub(super) enum Node {
    File(File),
    Directory(File),
}

impl Tree {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Opens what is at `path`; an empty one is the directory itself. Blocks on the disk, and on nothing else.
    ///
    /// # Errors
    /// There is nothing, it must not be read, it lies outside ([`io::ErrorKind::PermissionDenied`]), or it is neither file nor directory (likewise).
    pub(super) fn open(&self, path: &Path) -> io::Result<Node> {
        let root = File::open(&self.root)?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let mut path = inside(path)?;
        for _ in 0..LINKS {
            let found = match beneath(&root, &path, flags) {
                Ok(found) => found,
                Err(Errno::EXDEV) => {
                    path = self.target(&root, &path)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let file = File::from(found);
            let kind = file.metadata()?.file_type();
            return if kind.is_dir() {
                Ok(Node::Directory(file))
            } else if kind.is_file() {
                Ok(Node::File(file))
            } else {
                Err(io::ErrorKind::PermissionDenied.into())
            };
        }
        Err(Errno::ELOOP.into())
    }

    /// Where the link at `path` leads to, below the directory.
    fn target(&self, root: &File, path: &Path) -> io::Result<PathBuf> {
        let outside = || io::Error::from(io::ErrorKind::PermissionDenied);
        let link = beneath(root, path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .map_err(|error| if error == Errno::EXDEV { outside() } else { error.into() })?;
        let target = PathBuf::from(readlinkat(link.as_fd(), "").map_err(|_| outside())?);
        inside(target.strip_prefix(&self.root).map_err(|_| outside())?)
    }
}

fn beneath(root: &File, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(root, path, OpenHow::new().flags(flags).resolve(resolve))
}

/// The path from the directory on, where `..` goes no higher than it.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir => {}
            Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    if clean.as_os_str().is_empty() {
        clean.push(".");
    }
    Ok(clean)
}

#[cfg(test)]
mod tests;
