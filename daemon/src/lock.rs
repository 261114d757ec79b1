//! `--lock-file`: only one daemon at a time, and the old one may give way to the new (behaviour.md 46.6).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

/// The lock cannot be had.
#[derive(Debug, Error)]
#[error("--lock-file {path}", path = path.display())]
pub struct LockError {
    path: PathBuf,
    source: io::Error,
}

/// Held until the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

impl Lock {
    /// Waits until nobody else has the lock.
    pub(crate) async fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError { path: path.to_owned(), source };
        let owned = path.to_owned();
        let waiting = tokio::task::spawn_blocking(move || {
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(owned)?;
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))
        });
        let file = waiting.await.map_err(|e| failed(io::Error::other(e)))?.map_err(failed)?;
        Ok(Self { path: path.to_owned(), _file: file })
    }

    /// Resolves when another process opens or removes the file, which is how it asks for the lock.
    pub(crate) async fn contended(&self) -> Result<(), LockError> {
        let failed = |source| LockError { path: self.path.clone(), source };
        let inotify = Inotify::init().map_err(failed)?;
        inotify.watches().add(&self.path, WatchMask::OPEN | WatchMask::DELETE_SELF).map_err(failed)?;
        let mut events = inotify.into_event_stream(vec![0; 4096]).map_err(failed)?;
        match events.next().await {
            Some(Ok(_)) => Ok(()),
            Some(Err(source)) => Err(failed(source)),
            None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_daemon_waits_until_the_first_has_noticed_it_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).await.unwrap();
        let mut contended = Box::pin(first.contended());
        // The watch must be there before the other comes.
        assert!(futures::poll!(&mut contended).is_pending());
        let second = tokio::spawn({
            let path = path.clone();
            async move { Lock::take(&path).await }
        });
        contended.await.unwrap();
        drop(first);
        second.await.unwrap().unwrap();
    }
}
