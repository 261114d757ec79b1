//! Which bed has which block of addresses, and what a killed run left of one.
//!
//! Below `/run/nodelet-vm` each block has a lock, which its bed holds and which ends with the process, and a record of the
//! bed's processes and directory. Whoever gets a lock finds in the record what the last holder did not clear away itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache::{self, CacheError, Lock};
use crate::supervise::Identity;
use crate::wait::{self, Look, WaitError};

use super::network::BLOCKS;

const PLACE: &str = "/run/nodelet-vm";
const END_LIMIT: Duration = Duration::from_secs(30);

/// Why there is no block.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] CacheError),
    /// What a killed run left does not end.
    #[error("ending virtual machines that a killed run left")]
    Leftover(#[from] WaitError),
    /// All are taken.
    #[error("all {BLOCKS} blocks of addresses are taken by other beds")]
    NoBlock,
}

/// What a bed consists of, for whoever comes after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    dir: PathBuf,
    /// Each leads a process group.
    processes: Vec<Identity>,
}

/// A block that is taken.
#[derive(Debug)]
pub(super) struct Claim {
    block: u8,
    record: Record,
    path: PathBuf,
    _lock: Lock,
}

impl Claim {
    /// Clears away what killed runs left, and takes the first free block. The bed's directory is made below `beds`.
    pub(super) async fn take(beds: &Path) -> Result<Self, ClaimError> {
        Self::take_in(Path::new(PLACE), beds).await
    }

    async fn take_in(place: &Path, beds: &Path) -> Result<Self, ClaimError> {
        std::fs::create_dir_all(place).map_err(CacheError::file("making", place))?;
        let mut taken = None;
        for block in 0..BLOCKS {
            let path = place.join(format!("{block}.json"));
            if taken.is_some() && !path.exists() {
                continue;
            }
            let Some(lock) = cache::try_lock(&place.join(format!("{block}.lock")))? else { continue };
            clear(&path).await?;
            if taken.is_none() {
                taken = Some((block, path, lock));
            }
        }
        let (block, path, lock) = taken.ok_or(ClaimError::NoBlock)?;
        let dir = beds.join(block.to_string());
        // Of before the machine was started anew, which knows no record.
        cache::empty_dir(&dir)?;
        let claim = Self { block, record: Record { dir, processes: Vec::new() }, path, _lock: lock };
        claim.write()?;
        Ok(claim)
    }

    pub(super) fn block(&self) -> u8 {
        self.block
    }

    pub(super) fn dir(&self) -> &Path {
        &self.record.dir
    }

    /// Notes a process, before anything depends on it.
    pub(super) fn add(&mut self, process: Option<Identity>) -> Result<(), ClaimError> {
        self.record.processes.retain(|known| known.is_alive());
        self.record.processes.extend(process);
        self.write()
    }

    fn write(&self) -> Result<(), ClaimError> {
        let text = serde_json::to_string(&self.record).expect("paths and numbers can be written");
        let new = self.path.with_extension("new");
        std::fs::write(&new, text).map_err(CacheError::file("writing", &new))?;
        Ok(std::fs::rename(&new, &self.path).map_err(CacheError::file("moving into place", &self.path))?)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Machines and network have been told to end before. What cannot be removed now is removed by the next run.
        for process in &self.record.processes {
            end(*process);
        }
        if cache::remove_tree(&self.record.dir).is_ok() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Ends and removes what a record names.
async fn clear(path: &Path) -> Result<(), ClaimError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(CacheError::file("reading", path)(error).into()),
    };
    // One that was cut off by a full disk names nothing.
    let record: Record = serde_json::from_str(&text).unwrap_or_default();
    let look = || async {
        let left: Vec<_> = record.processes.iter().filter(|process| process.is_alive()).collect();
        for process in &left {
            end(**process);
        }
        if left.is_empty() { Look::There(()) } else { Look::NotYet(format!("{left:?}")) }
    };
    wait::until("leftovers to end", END_LIMIT, look).await?;
    if record.dir.is_absolute() {
        cache::remove_tree(&record.dir)?;
    }
    std::fs::remove_file(path).map_err(CacheError::file("removing", path))?;
    Ok(())
}

fn end(process: Identity) {
    if process.is_alive() {
        // It may end between the look and the signal.
        let _ = killpg(Pid::from_raw(process.pid().cast_signed()), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[tokio::test]
    async fn beds_side_by_side_have_blocks_of_their_own_and_a_block_comes_back() {
        let dir = tempfile::tempdir().expect("directory");
        let (place, beds) = (dir.path().join("run"), dir.path().join("beds"));
        let first = Claim::take_in(&place, &beds).await.expect("a block");
        let second = Claim::take_in(&place, &beds).await.expect("a block");
        assert_eq!((first.block(), second.block()), (0, 1));
        let of_first = first.dir().to_path_buf();
        drop(first);
        assert!(!of_first.exists() && second.dir().exists());
        assert_eq!(Claim::take_in(&place, &beds).await.expect("a block").block(), 0);
    }

    #[tokio::test]
    async fn what_a_killed_run_left_is_ended_by_the_next() {
        let dir = tempfile::tempdir().expect("directory");
        let (place, beds) = (dir.path().join("run"), dir.path().join("beds"));
        let mut left =
            std::process::Command::new("sleep").arg("600").process_group(0).spawn().expect("sleep");
        let mut killed = Claim::take_in(&place, &beds).await.expect("a block");
        killed.add(Identity::of(left.id())).expect("noted");
        let record = std::fs::read(&killed.path).expect("record");
        std::fs::write(killed.dir().join("changes"), "some").expect("file");
        // A killed process drops nothing: its lock is free, its record and its machines are there.
        let Claim { path, .. } = &killed;
        let path = path.clone();
        killed.record.processes.clear();
        drop(killed);
        std::fs::write(&path, record).expect("record");
        let next = Claim::take_in(&place, &beds).await.expect("a block");
        assert_eq!(next.block(), 0);
        assert!(!next.dir().join("changes").exists());
        assert!(left.try_wait().expect("status").is_some(), "it still runs");
    }
}
