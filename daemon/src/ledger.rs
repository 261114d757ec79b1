//! What must survive a restart of the daemon, and of the node, and stands neither in the runtime nor in the API: the pods
//! that were assigned, the end of a grace period that is being counted, resources that were allowed, and how an evicted pod ended.
//!
//! ```text
//!   <root-dir>/nodelet/pods/<uid>      one file a pod: a line with the checksum of the rest, then JSON
//! ```
//!
//! A file is replaced in one step, in batches and away from the path of a start; what must survive the machine is synced. One
//! that is damaged is put aside: the pod comes from the API again, and what runs is adopted from the runtime.
//!
//! | who | writes | reads |
//! |---|---|---|
//! | supervisor | pods as they are assigned, and that they are gone | the pods, where the API server does not answer after a start |
//! | pod tasks | grace period, resources and eviction (`lifecycle::Kept`), statuses | through the supervisor, in the assignment |

mod file;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus};
use lifecycle::{Deadline, Kept, Now};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::stop::stopped;
pub use file::LedgerError;

/// Changes within this time are written together.
const BATCH: Duration = Duration::from_millis(100);
/// After an error, the next try.
const RETRY: Duration = Duration::from_secs(10);

/// What a file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    pod: Arc<ApiPod>,
    /// The status that was told last.
    #[serde(default)]
    status: Option<Arc<PodStatus>>,
    #[serde(default)]
    kept: Kept,
    /// Whether its source has it no more, so that only its end is left to be carried out.
    #[serde(default)]
    removed: bool,
    /// The boot that the deadline's boot time counts from.
    boot_id: String,
    /// Counts the changes of this daemon.
    #[serde(skip)]
    version: u64,
}

#[derive(Debug, Default)]
struct State {
    records: HashMap<String, Record>,
    /// UIDs whose file is not what `records` says, and whether it has to be synced: what only a kill of the daemon could lose
    /// is in the kernel's hands, and what a reboot ends need not survive one.
    dirty: BTreeMap<String, bool>,
    changes: u64,
}

impl State {
    fn touch(&mut self, uid: &str, synced: bool) {
        self.changes += 1;
        if let Some(record) = self.records.get_mut(uid) {
            record.version = self.changes;
        }
        *self.dirty.entry(uid.to_owned()).or_default() |= synced;
    }

    /// Which version of a pod is to be on the disk; `None` for no file.
    fn version(&self, uid: &str) -> Option<u64> {
        self.records.get(uid).map(|record| record.version)
    }
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    boot_id: String,
    state: Mutex<State>,
    changed: Notify,
}

fn directory(root_dir: &Path) -> PathBuf {
    root_dir.join("nodelet/pods")
}

/// Forgets all pods of a machine whose daemon has ended.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn forget(root_dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory(root_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Cheap to clone; all clones are the same ledger.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
}

impl Ledger {
    /// Reads what an earlier daemon has left below `root_dir`.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be made or read. A file in it that is damaged is no error: it is put aside with a warning.
    pub(crate) fn open(root_dir: &Path, boot_id: String) -> Result<Self, LedgerError> {
        let dir = directory(root_dir);
        let records = file::read_all(&dir)?;
        let state = Mutex::new(State { records, ..State::default() });
        Ok(Self { shared: Arc::new(Shared { dir, boot_id, state, changed: Notify::new() }) })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pods that the API server had assigned when the last daemon ended, with the statuses that it told last.
    pub(crate) fn pods(&self) -> Vec<Arc<ApiPod>> {
        let with_status = |record: &Record| match &record.status {
            Some(status) => {
                let mut pod = ApiPod::clone(&record.pod);
                pod.status = Some(PodStatus::clone(status));
                Arc::new(pod)
            }
            None => Arc::clone(&record.pod),
        };
        self.with(|state| {
            let assigned =
                state.records.values().filter(|r| !r.removed && !crate::sources::is_static(&r.pod));
            assigned.map(with_status).collect()
        })
    }

    /// The pods that their sources had taken away, and that were not gone from the node when the last daemon ended.
    pub(crate) fn removed_pods(&self) -> Vec<Arc<ApiPod>> {
        self.with(|state| state.records.values().filter(|r| r.removed).map(|r| Arc::clone(&r.pod)).collect())
    }

    /// The pod of this UID, where its source had taken it away and it was not gone from the node.
    pub(crate) fn removed_pod(&self, uid: &str) -> Option<Arc<ApiPod>> {
        self.with(|state| state.records.get(uid).filter(|r| r.removed).map(|r| Arc::clone(&r.pod)))
    }

    /// Whether the pod was given to a daemon before.
    pub(crate) fn knows(&self, uid: &str) -> bool {
        self.with(|state| state.records.contains_key(uid))
    }

    /// The hash of the manifest that this program has run under the UID `uid`, where it has.
    pub(crate) fn manifest(&self, uid: &str) -> Option<String> {
        self.with(|state| {
            let pod = &state.records.get(uid)?.pod;
            pod.metadata.annotations.as_ref()?.get(crate::sources::CONFIG_HASH).cloned()
        })
    }

    /// What the machine of `pod` is to go on from.
    pub(crate) fn kept(&self, pod: &ApiPod, now: Now) -> Kept {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.with(|state| {
            let Some(record) = state.records.get(uid) else { return Kept::default() };
            let same_boot = record.boot_id == self.shared.boot_id;
            let mut kept = record.kept.clone();
            kept.ends_at = kept.ends_at.map(|deadline| translate(deadline, same_boot, now));
            // What was asked for while no daemon was there has not been allowed by any.
            for (name, before) in changed_resources(&record.pod, pod) {
                kept.allocated.entry(name).or_insert(before);
            }
            if let Some(before) = changed_level(&record.pod, pod) {
                kept.allocated_pod.get_or_insert(Box::new(before));
            }
            kept
        })
    }

    /// The source has this pod.
    pub(crate) fn assigned(&self, pod: &Arc<ApiPod>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let changed = self.with(|state| {
            let synced = match state.records.get_mut(&uid) {
                Some(record) => {
                    // In memory the newest object is the one that everybody shares.
                    let old = std::mem::replace(&mut record.pod, Arc::clone(pod));
                    let same = old.spec == pod.spec && old.metadata.generation == pod.metadata.generation;
                    if same && is_leaving(&old) == is_leaving(pod) {
                        return false;
                    }
                    !same
                }
                None => {
                    let record = Record {
                        pod: Arc::clone(pod),
                        status: None,
                        kept: Kept::default(),
                        removed: false,
                        boot_id: self.shared.boot_id.clone(),
                        version: 0,
                    };
                    state.records.insert(uid.clone(), record);
                    true
                }
            };
            state.touch(&uid, synced);
            true
        });
        if changed {
            self.shared.changed.notify_one();
        }
    }

    /// Writes a pod at once, so that a kill of the daemon finds it; it is synced with the others. For static pods, before the
    /// runtime is told of them: who has started one decides whether a changed manifest is seen.
    pub(crate) fn write_now(&self, uid: &str) {
        let Some(record) = self.with(|state| state.records.get(uid).cloned()) else { return };
        let change = file::Change { uid: uid.to_owned(), record: Some(record), synced: false };
        if let Err(error) = file::write(&self.shared.dir, &change, &|change, act| self.guard(change, act)) {
            tracing::warn!(%error, uid, "a pod is not on the disk yet");
        }
    }

    /// What the pod's machine wants kept. It is written at once: what follows relies on it.
    pub(crate) fn keep(&self, uid: &str, kept: Kept) {
        self.change(uid, |record| {
            let resources = |kept: &Kept| Kept { ends_at: None, ..kept.clone() };
            let resized = resources(&record.kept) != resources(&kept);
            record.kept = kept;
            record.boot_id.clone_from(&self.shared.boot_id);
            resized
        });
        self.write_now(uid);
    }

    /// What is told of the pod from now on, so that a daemon that begins without an API server goes on from it.
    pub(crate) fn told(&self, uid: &str, status: &Arc<PodStatus>) {
        self.change(uid, |record| {
            record.status = Some(Arc::clone(status));
            // One that has ended would be run a second time, but for one that is on its way out.
            has_ended(status) && !is_leaving(&record.pod)
        });
    }

    /// Changes a record that there is; `change` tells whether it has to be synced.
    fn change(&self, uid: &str, change: impl FnOnce(&mut Record) -> bool) {
        let known = self.with(|state| {
            let Some(record) = state.records.get_mut(uid) else { return false };
            let synced = change(record);
            state.touch(uid, synced);
            true
        });
        if known {
            self.shared.changed.notify_one();
        }
    }

    /// The pod's source has it no more: no later daemon runs it, however soon this one is killed.
    pub(crate) fn removed(&self, uid: &str) {
        self.change(uid, |record| {
            record.removed = true;
            true
        });
        self.write_now(uid);
    }

    /// Nothing is left of the pod.
    pub(crate) fn forget(&self, uid: &str) {
        let known = self.with(|state| {
            let known = state.records.remove(uid).is_some();
            if known {
                state.touch(uid, false);
            }
            known
        });
        if known {
            self.shared.changed.notify_one();
        }
    }

    /// Nothing is left of any pod but of those that are `known`.
    pub(crate) fn forget_others(&self, known: impl Fn(&str) -> bool) {
        let gone: Vec<String> =
            self.with(|state| state.records.keys().filter(|uid| !known(uid)).cloned().collect());
        for uid in gone {
            self.forget(&uid);
        }
    }

    /// Lets a file take its place unless another version of it has become due: that one is on the disk already, or in the
    /// next batch.
    fn guard(&self, change: &file::Change, act: &dyn Fn() -> io::Result<()>) -> io::Result<bool> {
        self.with(|state| {
            let newest = state.version(&change.uid) == change.record.as_ref().map(|record| record.version);
            if newest { act().map(|()| true) } else { Ok(false) }
        })
    }

    /// Writes what has changed, until `stop` and once more then.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let last = tokio::select! {
                // Cancel-safe: a level.
                () = stopped(&mut stop) => true,
                // Cancel-safe: a permit that was not taken stays.
                () = self.shared.changed.notified() => false,
            };
            if !last {
                tokio::time::sleep(BATCH).await;
            }
            if let Err(error) = self.write().await {
                tracing::error!(%error, "what pods need after a restart of the node is not on the disk");
                if !last {
                    tokio::time::sleep(RETRY).await;
                    self.shared.changed.notify_one();
                }
            }
            if last {
                return;
            }
        }
    }

    async fn write(&self) -> Result<(), LedgerError> {
        let batch: Vec<file::Change> = self.with(|state| {
            let dirty = std::mem::take(&mut state.dirty);
            let change = |(uid, synced): (String, bool)| {
                let record = state.records.get(&uid).cloned();
                file::Change { uid, record, synced }
            };
            dirty.into_iter().map(change).collect()
        });
        if batch.is_empty() {
            return Ok(());
        }
        let dir = self.shared.dir.clone();
        let dirty: Vec<(String, bool)> = batch.iter().map(|c| (c.uid.clone(), c.synced)).collect();
        let ledger = self.clone();
        let write = move || file::write_all(&dir, &batch, &|change, act| ledger.guard(change, act));
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.unwrap_or_else(|error| Err(LedgerError::Panicked(error.to_string())));
        if written.is_err() {
            self.with(|state| {
                for (uid, synced) in dirty {
                    state.touch(&uid, synced);
                }
            });
        }
        written
    }
}

fn is_leaving(pod: &ApiPod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn has_ended(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// The deadline in this boot's time: the same instant, or, after a reboot, what the civil clock says, at most the whole grace
/// period from now.
fn translate(deadline: Deadline, same_boot: bool, now: Now) -> Deadline {
    if same_boot {
        return deadline;
    }
    let left = deadline.wall.duration_since(now.wall);
    let left = Duration::try_from(left).unwrap_or_default().min(deadline.grace);
    Deadline { boot: now.boot + left, ..deadline }
}

type Resources = k8s_openapi::api::core::v1::ResourceRequirements;

/// What `spec.resources` was, where it is something else now.
fn changed_level(old: &ApiPod, new: &ApiPod) -> Option<Resources> {
    let level = |pod: &ApiPod| pod.spec.as_ref().and_then(|spec| spec.resources.clone()).unwrap_or_default();
    Some(level(old)).filter(|before| *before != level(new))
}

fn changed_resources(old: &ApiPod, new: &ApiPod) -> Vec<(String, Resources)> {
    let (Some(old), Some(new)) = (&old.spec, &new.spec) else { return Vec::new() };
    let before: HashMap<&str, Option<&Resources>> =
        podspec::containers(old).map(|(_, c)| (c.name.as_str(), c.resources.as_ref())).collect();
    podspec::containers(new)
        .filter_map(|(_, c)| {
            let before = *before.get(c.name.as_str())?;
            (before != c.resources.as_ref()).then(|| (c.name.clone(), before.cloned().unwrap_or_default()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
