//! Which processes belong to a cluster, on disk.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::Process;
use serde::{Deserialize, Serialize};

use crate::cache::CacheError;
use crate::wait::{self, Look};

/// A process, told from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pid: u32,
    /// In clock ticks since the machine started.
    started: u64,
}

impl Identity {
    /// Of a process that is there.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = Process::new(pid.cast_signed()).ok()?.stat().ok()?;
        (stat.state != 'Z').then_some(Self { pid, started: stat.starttime })
    }

    /// Of this process.
    pub(crate) fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    pub(crate) fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end between the look and the signal.
            let _ = kill(Pid::from_raw(self.pid.cast_signed()), signal);
        }
    }

    pub(super) fn write(self, path: &Path) -> Result<(), CacheError> {
        let text = serde_json::to_string(&self).expect("two numbers can be written");
        std::fs::write(path, text).map_err(CacheError::file("writing", path))
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }
}

/// Ends the process that was recorded under this name, if it still runs, and forgets it.
pub(crate) async fn end_recorded(records: &Path, name: &str, grace: Duration) {
    let path = records.join(format!("{name}.json"));
    if let Some(identity) = Identity::read(&path) {
        identity.signal(Signal::SIGTERM);
        let look = || async {
            if identity.is_alive() { Look::NotYet("it runs".to_owned()) } else { Look::There(()) }
        };
        if wait::until("a process to end", grace, look).await.is_err() {
            identity.signal(Signal::SIGKILL);
        }
    }
    // It may never have been there.
    let _ = std::fs::remove_file(&path);
}
