//! The volumes of this node's pods: who has to be asked for their content is asked here, and the crate `volumes` makes them.
//!
//! ```text
//!   objects, accounts, claims --resolve--> volumes::Volume --set_up--> pods/<uid>/volumes
//!                                                |
//!                                                '--> `mounts` of each container
//! ```
//!
//! Work on the volumes of one pod is done one after the other, also where whoever asked for it has gone. What was made is
//! remembered until it is torn down; after a restart of the daemon it is made again, which finds it there.
//!
//! | module | owns |
//! |---|---|
//! | `resolve` | one volume of the spec as the crate wants it |
//! | `projected` | the sources of a projected volume |
//! | `claims` | persistent volume claims and the volumes they are bound to |
//! | `mounts` | what a container mounts of the volumes |

mod claims;
mod mounts;
mod projected;
mod resolve;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use lifecycle::{Facts, FailureKind};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use volumes::{Content, Files, Ownership, PodDirs, PodDirsError, RemoveError, Setting, Volume};

use crate::images::{Accounts, Turns};
use crate::metrics::Work;
use crate::objects::Objects;
use claims::Claims;
pub(crate) use mounts::Mounts;
use resolve::Resolved;

/// Cheap to clone; see the module's page.
#[derive(Clone)]
pub(crate) struct PodVolumes(Arc<Inner>);

struct Inner {
    dirs: Arc<PodDirs>,
    objects: Objects,
    accounts: Accounts,
    claims: Claims,
    facts: watch::Receiver<Arc<Facts>>,
    work: Work,
    /// By the pod's UID.
    turns: Turns<String>,
    made: Mutex<HashMap<String, HashMap<String, Made>>>,
}

/// A volume that was made, as containers mount it.
#[derive(Clone, Debug)]
struct Made {
    path: PathBuf,
    read_only: bool,
}

/// Why the volumes of a pod are not there, or not as they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MountError {
    /// One line for each volume, in a kubelet's words.
    pub(crate) message: String,
    /// `Unavailable` where the cause may go away without a word: it is to be tried again soon.
    pub(crate) kind: FailureKind,
}

/// What is wrong with one volume.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    line: String,
    soon: bool,
}

impl Problem {
    /// In the words of a kubelet whose mount failed.
    fn set_up(volume: &str, error: impl fmt::Display) -> Self {
        let line = format!("MountVolume.SetUp failed for volume \"{volume}\" : {error}");
        Self { line: line.replace(['\n', '\r'], " "), soon: false }
    }
}

impl fmt::Debug for PodVolumes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodVolumes").field("dirs", &self.0.dirs).finish_non_exhaustive()
    }
}

impl PodVolumes {
    pub(crate) fn new(
        dirs: Arc<PodDirs>,
        objects: Objects,
        client: Option<kube::Client>,
        facts: watch::Receiver<Arc<Facts>>,
        work: Work,
    ) -> Self {
        Self(Arc::new(Inner {
            dirs,
            objects,
            accounts: Accounts::new(client.clone()),
            claims: Claims::new(client),
            facts,
            work,
            turns: Turns::default(),
            made: Mutex::default(),
        }))
    }

    /// What the pods of this node refer to.
    pub(crate) fn objects(&self) -> &Objects {
        &self.0.objects
    }

    /// Makes the pod's volumes and brings their files up to date; after how long that is to be done again.
    ///
    /// # Errors
    /// All volumes that are not as they should be; the others are.
    pub(crate) async fn mount(&self, pod: &Arc<Pod>) -> Result<Option<Duration>, MountError> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let turn = self.0.turns.take(uid.clone()).await;
        let spec = pod.spec.as_ref();
        let wanted = spec.and_then(|s| s.volumes.as_deref()).unwrap_or_default();
        let wanted = wanted.iter().filter(|volume| volume.image.is_none());
        let resolved = join_all(wanted.map(|volume| self.0.resolve(pod, volume))).await;
        let mut refresh_after: Option<Duration> = None;
        let (mut volumes, mut problems) = (Vec::new(), Vec::new());
        for resolved in resolved {
            match resolved {
                Ok(Resolved { name, volume, refresh_after: after }) => {
                    refresh_after = refresh_after.into_iter().chain(after).min();
                    volumes.push((name, volume));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let setting = self.0.setting(pod);
        let shared = mounts::propagated(pod);
        let inner = Arc::clone(&self.0);
        let set_up = spawn_blocking(move || {
            // Held until all is done, also where nobody waits for it any more.
            let _turn = turn;
            inner.set_up(&uid, volumes, &setting, &shared)
        });
        match set_up.await {
            Ok(Ok(more)) => problems.extend(more),
            Ok(Err(error)) => {
                let message = format!("error making pod data directories: {error}");
                return Err(MountError { message, kind: FailureKind::Directories });
            }
            Err(error) => {
                return Err(MountError { message: error.to_string(), kind: FailureKind::Refused });
            }
        }
        if problems.is_empty() {
            return Ok(refresh_after);
        }
        let soon = problems.iter().any(|problem| problem.soon);
        let kind = if soon { FailureKind::Unavailable } else { FailureKind::Refused };
        let lines: Vec<String> = problems.into_iter().map(|problem| problem.line).collect();
        Err(MountError { message: lines.join("\n"), kind })
    }

    /// Unmounts and removes the pod's volumes.
    pub(crate) async fn unmount(&self, uid: &str) -> Result<(), RemoveError> {
        let turn = self.0.turns.take(uid.to_owned()).await;
        self.0.accounts.forget(uid);
        let (inner, uid) = (Arc::clone(&self.0), uid.to_owned());
        let torn = spawn_blocking(move || {
            let _turn = turn;
            inner.made.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
            inner.dirs.tear_down(&uid)
        });
        torn.await.unwrap_or_else(|error| Err(RemoveError { problems: vec![error.to_string()] }))
    }
}

/// A kubelet's name of the kind of a volume.
fn plugin(volume: &Volume) -> &'static str {
    match &volume.content {
        Content::EmptyDir(_) => "kubernetes.io/empty-dir",
        Content::HostPath { .. } => "kubernetes.io/host-path",
        Content::Files(Files::ConfigMap, _) => "kubernetes.io/configmap",
        Content::Files(Files::Secret, _) => "kubernetes.io/secret",
        Content::Files(Files::DownwardApi, _) => "kubernetes.io/downward-api",
        Content::Files(Files::Projected, _) => "kubernetes.io/projected",
        Content::Local { .. } => "kubernetes.io/local-volume",
    }
}

impl Inner {
    /// Everything that takes the disk.
    fn set_up(
        &self,
        uid: &str,
        volumes: Vec<(String, Volume)>,
        setting: &Setting,
        shared: &[String],
    ) -> Result<Vec<Problem>, PodDirsError> {
        let mut problems = Vec::new();
        self.dirs.prepare(uid)?;
        for (name, volume) in volumes {
            let shares = shared.contains(&name);
            let began = Instant::now();
            let done = self.dirs.set_up(uid, &volume, setting).and_then(|()| {
                let path = self.dirs.volume_path(uid, &volume)?;
                if shares {
                    self.dirs.share(uid, &volume)?;
                }
                Ok(path)
            });
            self.work.volume(plugin(&volume), done.is_ok(), began);
            match done {
                Ok(path) => {
                    let made = Made { path, read_only: volume.is_read_only() };
                    let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                    all.entry(uid.to_owned()).or_default().insert(name, made);
                }
                Err(error) => problems.push(Problem::set_up(&volume.name, error)),
            }
        }
        Ok(problems)
    }

    fn setting(&self, pod: &Pod) -> Setting {
        let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        let group = security.and_then(|s| s.fs_group).and_then(|group| u32::try_from(group).ok());
        let policy = security.and_then(|s| s.fs_group_change_policy.as_deref());
        Setting {
            ownership: group
                .map(|group| Ownership { group, only_on_mismatch: policy == Some("OnRootMismatch") }),
            memory_bytes: volumes::empty_dir::memory_size(pod, self.allocatable_memory(), None),
        }
    }

    fn allocatable_memory(&self) -> u64 {
        let facts = self.facts.borrow();
        facts.allocatable.get("memory").and_then(|q| u64::try_from(q.value()).ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
