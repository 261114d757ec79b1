//! Carries a rotation out: steps on files, and the runtime's call between them.
//!
//! | killed after | is there | the next start |
//! |---|---|---|
//! | the rename | no log; the runtime writes to the renamed file | finds the log missing and has the runtime open it again |
//! | the call | all, and one file too many | removes it |
//! | some removals | every file that is kept | removes the others |
//!
//! Readers follow the renamed file and go from it to the next; `compress` has the rest of the table.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cri_client::{CallError, Client};
use jiff::Timestamp;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use streams::logs::Rotated;
use thiserror::Error;

use super::plan::{self, Plan};

/// The log of a container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    /// Of the container.
    pub(super) id: String,
    /// Where it is.
    pub(super) dir: PathBuf,
    /// Its name there: `0.log`.
    pub(super) name: String,
}

impl Log {
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }
}

/// A log was not rotated, or not wholly.
#[derive(Debug, Error)]
pub(super) enum RotateError {
    /// A step on a file failed.
    #[error("{doing} {path}", path = path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// The runtime did not open the log again; it has its old name where it could be given back.
    #[error("opening {path} again", path = path.display())]
    Reopen { path: PathBuf, source: CallError },
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RotateError {
    let path = path.to_owned();
    move |source| RotateError::File { doing, path, source }
}

/// What has become of a log that was rotated.
#[derive(Debug)]
pub(super) struct Rotation {
    /// To be compressed now.
    pub(super) compress: Vec<PathBuf>,
    /// Why files stay that are of no use; the next rotation tries again.
    pub(super) left: Option<RotateError>,
}

/// Rotates a full log, so that there are at most `most` files; `reopen` is the runtime's call.
pub(super) async fn rotate(
    log: &Log,
    most: usize,
    busy: BTreeSet<String>,
    reopen: impl Future<Output = Result<(), CallError>>,
) -> Result<Rotation, RotateError> {
    // Both calls are short, and the log grows meanwhile; what takes longer comes after it has its new file.
    let plan = plan::rotation(&log.name, &names(&log.dir)?, most, Timestamp::now(), &busy);
    let renamed = log.dir.join(plan.rename_to.as_deref().unwrap_or_default());
    fs::rename(log.path(), &renamed).map_err(file("renaming to", &renamed))?;
    if let Err(source) = reopen.await {
        let path = log.path();
        // If the runtime has opened it all the same, and only its answer was lost, the new file stays: it is written to.
        match renameat2(AT_FDCWD, &renamed, AT_FDCWD, &path, RenameFlags::RENAME_NOREPLACE) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => return Err(RotateError::Reopen { path, source }),
            Err(errno) => return Err(file("giving its name back to", &path)(errno.into())),
        }
    }
    let dir = log.dir.clone();
    blocking(move || {
        let left = remove(&dir, &plan).err();
        Ok(Rotation { compress: compressed(&dir, plan), left })
    })
    .await
}

/// Has the runtime open a log that is missing.
pub(super) async fn reopen(client: &Client, log: &Log) -> Result<(), RotateError> {
    let missing = client.reopen_container_log(&log.id).await;
    missing.map_err(|source| RotateError::Reopen { path: log.path(), source })
}

/// What a look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So many bytes.
    Size(u64),
    /// No log; whether there are rotated ones.
    Missing { rotated: bool },
}

pub(super) fn look(log: &Log) -> Result<Found, RotateError> {
    let path = log.path();
    match fs::metadata(&path) {
        Ok(metadata) => Ok(Found::Size(metadata.len())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let rotated = match names(&log.dir) {
                Ok(names) => names.iter().any(|name| Rotated::of(&log.name, name).is_some()),
                // The directory is missing, too.
                Err(_) => false,
            };
            Ok(Found::Missing { rotated })
        }
        Err(e) => Err(file("looking at", &path)(e)),
    }
}

/// Clears away what a daemon that was killed has left half done; what waits to be compressed is given back.
pub(super) fn recover(log: &Log, most: usize, busy: &BTreeSet<String>) -> Result<Vec<PathBuf>, RotateError> {
    let plan = plan::recovery(&log.name, &names(&log.dir)?, most, busy);
    remove(&log.dir, &plan)?;
    Ok(compressed(&log.dir, plan))
}

fn compressed(dir: &Path, plan: Plan) -> Vec<PathBuf> {
    plan.compress.into_iter().map(|name| dir.join(name)).collect()
}

fn remove(dir: &Path, plan: &Plan) -> Result<(), RotateError> {
    for name in &plan.remove {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(file("removing", &path)(e)),
            _ => {}
        }
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>, RotateError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(file("listing", dir)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file("listing", dir))?;
        // Every name of a log is text.
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// File systems can stall; their calls have threads of their own.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, RotateError> + Send + 'static,
) -> Result<T, RotateError> {
    let ended = |e| file("waiting for", Path::new("a thread"))(io::Error::other(e));
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|e| Err(ended(e)))
}

#[cfg(test)]
mod tests;
