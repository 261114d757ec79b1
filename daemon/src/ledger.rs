//! What must survive a restart of the daemon, and of the node, and stands neither in the runtime nor in the API: the pods
//! that were assigned, the end of a grace period that is being counted, and resources that were allowed.
//!
//! ```text
//!   <root-dir>/nodelet/pods/<uid>      one file a pod: a line with the checksum of the rest, then JSON
//! ```
//!
//! A file is replaced in one step and synced, in batches and away from the path of a start. One that is damaged is put
//! aside: the pod comes from the API again, and what runs is adopted from the runtime.
//!
//! | who | writes | reads |
//! |---|---|---|
//! | supervisor | pods as they are assigned, and that they are gone | the pods, where the API server does not answer after a start |
//! | pod tasks | grace period and resources (`lifecycle::Kept`), a terminal status | through the supervisor, in the assignment |

mod file;

use std::collections::{BTreeMap, HashMap};
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
    #[serde(default)]
    kept: Kept,
    /// The boot that the deadline's boot time counts from.
    boot_id: String,
}

#[derive(Debug, Default)]
struct State {
    records: HashMap<String, Record>,
    /// UIDs whose file is not what `records` says, and whether it has to be synced: what only a kill of the daemon could lose
    /// is in the kernel's hands, and what a reboot ends need not survive one.
    dirty: BTreeMap<String, bool>,
}

impl State {
    fn touch(&mut self, uid: &str, synced: bool) {
        *self.dirty.entry(uid.to_owned()).or_default() |= synced;
    }
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    boot_id: String,
    state: Mutex<State>,
    changed: Notify,
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
        let dir = root_dir.join("nodelet/pods");
        let records = file::read_all(&dir)?;
        let state = Mutex::new(State { records, dirty: BTreeMap::new() });
        Ok(Self { shared: Arc::new(Shared { dir, boot_id, state, changed: Notify::new() }) })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pods that the API server had assigned when the last daemon ended.
    pub(crate) fn pods(&self) -> Vec<Arc<ApiPod>> {
        let all = |state: &mut State| -> Vec<Arc<ApiPod>> {
            state.records.values().map(|r| Arc::clone(&r.pod)).collect()
        };
        let mut pods = self.with(all);
        pods.retain(|pod| !crate::sources::is_static(pod));
        pods
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
            kept
        })
    }

    /// The source has this pod.
    pub(crate) fn assigned(&self, pod: &Arc<ApiPod>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let changed = self.with(|state| {
            let old = state.records.get_mut(&uid);
            let kept = match old {
                Some(r) if r.pod.spec == pod.spec && is_leaving(&r.pod) == is_leaving(pod) => {
                    // The same for the disk; in memory the newest object is the one that everybody shares.
                    if !has_ended(&r.pod) {
                        r.pod = Arc::clone(pod);
                    }
                    return false;
                }
                Some(r) => r.kept.clone(),
                None => Kept::default(),
            };
            let record = Record { pod: Arc::clone(pod), kept, boot_id: self.shared.boot_id.clone() };
            let resynced =
                state.records.insert(uid.clone(), record).is_none_or(|old| old.pod.spec != pod.spec);
            state.touch(&uid, resynced);
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
        if let Err(error) = file::write(&self.shared.dir, uid, &record) {
            tracing::warn!(%error, uid, "a pod is not on the disk yet");
        }
    }

    /// What the pod's machine wants kept. It is written at once: what follows relies on it.
    pub(crate) fn keep(&self, uid: &str, kept: Kept) {
        self.change(uid, |record| {
            let resized = record.kept.allocated != kept.allocated || record.kept.actuated != kept.actuated;
            record.kept = kept;
            record.boot_id.clone_from(&self.shared.boot_id);
            resized
        });
        self.write_now(uid);
    }

    /// The pod has ended for good: it is not run again, whatever the API server says, or if it says nothing.
    pub(crate) fn ended(&self, uid: &str, status: &Arc<PodStatus>) {
        self.change(uid, |record| {
            let mut pod = ApiPod::clone(&record.pod);
            pod.status = Some(PodStatus::clone(status));
            record.pod = Arc::new(pod);
            // It would be run a second time, but for one that is on its way out.
            !is_leaving(&record.pod)
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
        let written = tokio::task::spawn_blocking(move || file::write_all(&dir, &batch)).await;
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

fn has_ended(pod: &ApiPod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
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
