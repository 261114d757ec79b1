//! Where things are kept that a fresh clone should find again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

use crate::progress::Progress;

/// How often a lock that another run holds is tried.
const LOCK_PERIOD: Duration = Duration::from_millis(200);

/// Why the cache cannot be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Neither variable says where a cache may be.
    #[error("neither XDG_CACHE_HOME nor HOME is set to an absolute path: nowhere to keep tools and clusters")]
    NoPlace,
    /// A directory or file in it cannot be used.
    #[error("{operation} {path}", path = path.display())]
    File {
        /// What was being done.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl CacheError {
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { operation, path, source }
    }
}

/// The project's cache directory; made if it is not there.
///
/// # Errors
/// There is no place for it, or it cannot be made.
pub fn cache_dir() -> Result<PathBuf, CacheError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let dir = base.ok_or(CacheError::NoPlace)?.join("nodelet");
    std::fs::create_dir_all(&dir).map_err(CacheError::file("making", &dir))?;
    Ok(dir)
}

/// A lock that ends with the value, or with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

/// Takes the lock of this file, without waiting: `None` if somebody else has it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Lock>, CacheError> {
    let file = File::create(path).map_err(CacheError::file("opening the lock", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Lock { _file: file })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(CacheError::file("locking", path)(errno.into())),
    }
}

/// Takes the lock of this file; says so when it has to wait for another run.
pub(crate) async fn lock(path: &Path, what: &str, progress: &Progress) -> Result<Lock, CacheError> {
    let mut told = false;
    loop {
        if let Some(lock) = try_lock(path)? {
            return Ok(lock);
        }
        if !told {
            progress.note(&format!("waiting for another run that is {what}"));
            told = true;
        }
        tokio::time::sleep(LOCK_PERIOD).await;
    }
}

/// Removes a directory with all that is in it, where it is there.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), CacheError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CacheError::file("removing", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a directory, if need be, and makes it anew.
pub(crate) fn empty_dir(dir: &Path) -> Result<(), CacheError> {
    remove_tree(dir)?;
    std::fs::create_dir_all(dir).map_err(CacheError::file("making", dir))
}
