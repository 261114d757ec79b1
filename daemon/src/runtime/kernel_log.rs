//! Whom the kernel killed for want of memory, by the kernel's own word.
//!
//! A runtime learns of it from the container's cgroup, which goes with the last process: systemd removes a scope as soon as it is
//! empty, and when it is quicker than the runtime the container ends with 137 and "Error". The kernel's log names the cgroup before it
//! kills, and the record outlives both.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::OFlag;

/// The kernel makes no longer records than this (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8 << 10;

/// Records that are read at a time at most; the kernel's buffer holds fewer.
const RECORDS: usize = 1 << 17;

/// So many of the containers that were killed last are remembered.
const REMEMBERED: usize = 1024;

/// The kernel's log, read when somebody asks and not before.
#[derive(Debug)]
pub(super) struct KernelLog {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: Option<File>,
    /// That the log cannot be read is said once.
    is_told: bool,
    /// Identities of containers, the oldest first.
    killed: VecDeque<String>,
}

impl KernelLog {
    /// The log at `path`, in the format of /dev/kmsg.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Mutex::default() }
    }

    /// Whether the kernel killed processes of the container `id` because there was no memory left for them. `false` where the log
    /// cannot be read, or has lost the record.
    pub(super) fn has_killed(&self, id: &str) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.read_on(&mut state) {
            state.log = None;
            if !state.is_told {
                state.is_told = true;
                let path = self.path.display();
                tracing::warn!(%path, %error, "the kernel's log cannot be read: OOM kills are known from the runtime alone");
            }
        }
        state.killed.iter().any(|killed| killed == id)
    }

    /// Reads what is new, from the oldest record that the kernel has when it is read first.
    fn read_on(&self, state: &mut State) -> io::Result<()> {
        if state.log.is_none() {
            let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
            state.log = Some(OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?);
        }
        let Some(log) = &mut state.log else { return Ok(()) };
        let mut record = [0; RECORD];
        for _ in 0..RECORDS {
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let Some(id) = record.get(..length).and_then(killed_container) else { continue };
                    if state.killed.iter().any(|killed| killed == id) {
                        continue;
                    }
                    if state.killed.len() >= REMEMBERED {
                        state.killed.pop_front();
                    }
                    state.killed.push_back(id.to_owned());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // Records were overwritten before they were read; the next ones are there.
                Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A process that the kernel killed for want of memory, by its own record:
/// `6,1520,92711,-;oom-kill:constraint=…,oom_memcg=/…,task_memcg=/…/cri-containerd-<id>.scope,task=sh,pid=71,uid=0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OomKill<'a> {
    /// The name of the process, which it may have chosen itself.
    pub(crate) process: &'a str,
    /// Of the node's own namespace.
    pub(crate) pid: u32,
    /// The cgroup that the process was in.
    pub(crate) victim: &'a str,
    /// The cgroup that had reached its limit; `None` where the whole node was out of memory.
    pub(crate) limit: Option<&'a str>,
}

impl<'a> OomKill<'a> {
    /// Reads one record of the kernel's log, if it is the kernel's and tells of a kill.
    pub(crate) fn of(record: &'a [u8]) -> Option<Self> {
        let record = str::from_utf8(record).ok()?;
        let (prefix, text) = record.split_once(';')?;
        // Facility 0: processes may write records too, but not as the kernel.
        let priority: u32 = prefix.split(',').next()?.parse().ok()?;
        if priority > 7 {
            return None;
        }
        let (before, cgroup) = text.lines().next()?.strip_prefix("oom-kill:")?.split_once(",task_memcg=")?;
        let (victim, task) = cgroup.split_once(",task=")?;
        let (task, _uid) = task.rsplit_once(",uid=")?;
        let (process, pid) = task.rsplit_once(",pid=")?;
        let limit = before.split_once(",oom_memcg=").map(|(_, limit)| limit);
        Some(Self { process, pid: pid.parse().ok()?, victim, limit })
    }

    /// The identity of the container that the process was in.
    pub(crate) fn container(&self) -> Option<&'a str> {
        self.victim.split('/').filter_map(container).next()
    }

    /// The UID of the pod, without dashes and underscores, with the cgroupfs driver (`pod<uid>`) or systemd's
    /// (`kubepods-burstable-pod<uid>.slice`).
    pub(crate) fn pod_uid(&self) -> Option<String> {
        let parts = self.victim.split('/').map(|part| part.strip_suffix(".slice").unwrap_or(part));
        let mut uids = parts.filter_map(|part| {
            let (before, uid) =
                part.split_once("pod").filter(|_| !part.starts_with("kubepods")).or_else(|| {
                    let (before, uid) = part.strip_prefix("kubepods")?.split_once("-pod")?;
                    Some((before, uid))
                })?;
            let is_tier = matches!(before, "" | "-burstable" | "-besteffort");
            is_tier.then(|| uid.replace(['-', '_'], "")).filter(|uid| !uid.is_empty())
        });
        uids.next()
    }
}

fn killed_container(record: &[u8]) -> Option<&str> {
    OomKill::of(record)?.container()
}

/// The identity in a cgroup's name, with the cgroupfs driver (`<id>`) or systemd's (`<runtime>-<id>.scope`).
fn container(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then_some(id)
}

#[cfg(test)]
mod tests;
