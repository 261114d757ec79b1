//! Removal of a tree that may once have had mounts in it, and that containers could write to.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, renameat};
use nix::sys::stat::{SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use thiserror::Error;

use crate::{beneath, mounts};

/// Directories in directories that are open at once; what lies deeper is brought up first.
const MOST_DEEP: usize = 64;
/// Names of one directory that are held at once.
const BATCH: usize = 4096;
/// Problems that are told one by one.
const MOST_TOLD: usize = 16;

/// What could not be removed; the rest is gone.
#[derive(Debug, Error)]
#[error("{}", .problems.join("; "))]
pub struct RemoveError {
    /// One line each, with the path.
    pub problems: Vec<String>,
}

impl RemoveError {
    pub(crate) fn of(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}

/// Removes `path` and all below it; nothing at all while anything is mounted there. Links are removed and never followed, and
/// the kernel is asked at each directory whether it is a mount: none is entered, even one that was made this moment.
pub(crate) fn remove_tree(path: &Path) -> Result<(), RemoveError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {}
        // Not one of ours: a link is removed, and what it points to stays.
        Ok(_) => {
            let removed = fs::remove_file(path);
            return removed.map_err(|e| RemoveError::of(format!("removing {}: {e}", path.display())));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RemoveError::of(format!("looking at {}: {e}", path.display()))),
    }
    let mounted =
        mounts::below(path).map_err(|e| RemoveError::of(format!("reading the mount table: {e}")))?;
    if !mounted.is_empty() {
        let problems = mounted.iter().map(|m| format!("{} is still mounted", m.display())).collect();
        return Err(RemoveError { problems });
    }
    remove_unproven(path)
}

/// As [`remove_tree`], for a directory in which the mount table shows no mount.
pub(crate) fn remove_unproven(path: &Path) -> Result<(), RemoveError> {
    let mut removal = Removal { problems: Vec::new() };
    removal.clear(path);
    if removal.problems.is_empty()
        && let Err(e) = fs::remove_dir(path)
    {
        removal.note("removing", path, &e);
    }
    if removal.problems.is_empty() { Ok(()) } else { Err(RemoveError { problems: removal.problems }) }
}

struct Removal {
    problems: Vec<String>,
}

/// One directory on the way down.
struct Level {
    dir: Dir,
    path: PathBuf,
    /// What is to be removed in it.
    names: VecDeque<(OsString, Option<Type>)>,
    /// Whether there may be more than these.
    more: bool,
}

impl Level {
    fn read(&mut self) -> io::Result<()> {
        self.more = false;
        for entry in self.dir.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if self.names.len() == BATCH {
                self.more = true;
                break;
            }
            self.names.push_back((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
        Ok(())
    }
}

impl Removal {
    /// Removes what is in `top`, in passes: the first brings up what lies too deep.
    fn clear(&mut self, top: &Path) {
        let mut raised = 0_u64;
        loop {
            let before = raised;
            self.pass(top, &mut raised);
            if raised == before || !self.problems.is_empty() {
                return;
            }
        }
    }

    fn pass(&mut self, top: &Path, raised: &mut u64) {
        let root = match beneath::open_dir(top) {
            Ok(root) => root,
            Err(e) => return self.note("opening", top, &e),
        };
        let mut stack: Vec<Level> = Vec::new();
        self.enter(root.as_fd().try_clone_to_owned(), top.to_owned(), &mut stack);
        loop {
            let depth = stack.len();
            let Some(level) = stack.last_mut() else { return };
            let Some((name, kind)) = level.names.pop_front() else {
                // What cannot be removed would be read for ever.
                if level.more && self.problems.is_empty() {
                    if let Err(e) = level.read() {
                        let path = level.path.clone();
                        self.note("listing", &path, &e);
                    }
                    continue;
                }
                let done = stack.pop();
                if let (Some(done), Some(parent)) = (done, stack.last())
                    && let Some(name) = done.path.file_name()
                    && let Err(e) = unlinkat(&parent.dir, name, UnlinkatFlags::RemoveDir)
                {
                    // Something in it could not be removed: that was told.
                    if self.problems.is_empty() {
                        self.note("removing", &done.path, &e.into());
                    }
                }
                continue;
            };
            let path = level.path.join(&name);
            if is_dir(&level.dir, &name, kind) {
                if depth >= MOST_DEEP {
                    *raised += 1;
                    // Nobody can have made one of that name.
                    let above = format!("..removed-{:x}", RandomState::new().build_hasher().finish());
                    if let Err(e) = renameat(&level.dir, name.as_os_str(), &root, above.as_str()) {
                        self.note("moving", &path, &e.into());
                    }
                    continue;
                }
                let opened =
                    beneath::open_same_mount(&level.dir, &name, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
                self.enter(opened, path, &mut stack);
            } else if let Err(e) = unlinkat(&level.dir, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                self.note("removing", &path, &e.into());
            }
        }
    }

    fn enter(&mut self, opened: io::Result<std::os::fd::OwnedFd>, path: PathBuf, stack: &mut Vec<Level>) {
        let listed = opened.and_then(|fd| {
            let mut level =
                Level { dir: Dir::from_fd(fd)?, path: path.clone(), names: VecDeque::new(), more: false };
            level.read()?;
            Ok(level)
        });
        match listed {
            Ok(level) => stack.push(level),
            Err(e) if e.raw_os_error() == Some(nix::libc::EXDEV) => {
                self.tell(format!("{} is a mount", path.display()));
            }
            Err(e) => self.note("listing", &path, &e),
        }
    }

    fn note(&mut self, action: &str, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.tell(format!("{action} {}: {error}", path.display()));
        }
    }

    fn tell(&mut self, problem: String) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(problem);
        }
    }
}

/// Whether the entry itself is a directory: a link to one is removed, not entered.
fn is_dir(dir: &Dir, name: &OsStr, kind: Option<Type>) -> bool {
    match kind {
        Some(kind) => kind == Type::Directory,
        None => fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
        }),
    }
}

#[cfg(test)]
mod tests;
