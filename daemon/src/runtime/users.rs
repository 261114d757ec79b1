//! The user ids of the node that pods with a user namespace of their own have (behaviour.md 7.10).
//!
//! Each has one range, the same for users and groups, kept in a kubelet's file `pods/UID/userns` for as long as the pod has a directory, so
//! that it is the same after a restart of the daemon or of the machine: files of the pod's volumes may belong to ids of it.

mod ranges;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cri_client::v1;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use ranges::{RangeError, Ranges};

/// Whose subordinate ids pods get, where there is such a user.
const USER: &str = "kubelet";
/// Ids that a pod gets, and the least.
const IDS_PER_POD: u32 = 65_536;
const FILE: &str = "userns";
const MAX_BYTES: u64 = 64 * 1024;

/// Why a pod gets no ids.
#[derive(Debug, Error)]
pub(crate) enum UsersError {
    #[error("can't set `spec.hostUsers: false`, runtime does not support user namespaces")]
    Runtime,
    #[error("can't set `spec.hostUsers: false`, RuntimeClass handler {0:?} does not support user namespaces")]
    Handler(String),
    /// The ids of user `kubelet` cannot be used.
    #[error("kubelet mappings: {0}")]
    Subordinate(String),
    #[error("user namespace: {action} {path}: {source}", path = path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("user namespace: invalid user namespace mappings file {path}: {problem}", path = path.display())]
    Content { path: PathBuf, problem: String },
    #[error("create user namespace: {0}")]
    Range(#[from] RangeError),
}

/// Whether a handler can give containers user namespaces.
pub(crate) fn check_handler(
    handlers: &[crate::node::RuntimeHandler],
    handler: &str,
) -> Result<(), UsersError> {
    if handlers.iter().any(|h| h.name == handler && h.user_namespaces) {
        return Ok(());
    }
    Err(if handler.is_empty() { UsersError::Runtime } else { UsersError::Handler(handler.to_owned()) })
}

/// The users of the node's own namespace.
pub(crate) fn of_node() -> v1::UserNamespace {
    v1::UserNamespace { mode: v1::NamespaceMode::Node as i32, ..Default::default() }
}

/// Gives ranges; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Users(Arc<Inner>);

struct Inner {
    /// `pods` below the root directory.
    pods: PathBuf,
    per_pod: u32,
    max_pods: u32,
    /// Made at the first use: most nodes have no such pods.
    ranges: OnceLock<Result<Mutex<Ranges>, String>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("pods", &self.pods)
            .field("per_pod", &self.per_pod)
            .finish_non_exhaustive()
    }
}

/// A kubelet's file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "uidMappings")]
    uids: Vec<Mapping>,
    #[serde(rename = "gidMappings")]
    gids: Vec<Mapping>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    host_id: u32,
    container_id: u32,
    length: u32,
}

impl Users {
    /// Ranges of `per_pod` ids, a multiple of 65,536, for the pods below `root_dir`.
    pub(crate) fn new(root_dir: &Path, per_pod: Option<i64>, max_pods: i32) -> Self {
        let per_pod = per_pod.and_then(|ids| u32::try_from(ids).ok()).unwrap_or(IDS_PER_POD);
        let max_pods = u32::try_from(max_pods).unwrap_or(0);
        Self(Arc::new(Inner { pods: root_dir.join("pods"), per_pod, max_pods, ranges: OnceLock::new() }))
    }

    /// The range of a pod whose directory there is; the same each time until [`Users::release`].
    ///
    /// # Errors
    /// No range is left, what is kept of this pod is damaged, or it cannot be kept.
    pub(crate) fn of_pod(&self, uid: &str) -> Result<v1::UserNamespace, UsersError> {
        let mut ranges = self.ranges()?;
        let path = self.0.pods.join(uid).join(FILE);
        let first = match read(&path)? {
            Some(mapping) => {
                let recorded = ranges.record(uid, mapping.host_id, mapping.length);
                recorded.map_err(|e| UsersError::Content { path, problem: e.to_string() })?;
                mapping.host_id
            }
            None => {
                let first = ranges.allocate(uid)?;
                let mapping = Mapping { host_id: first, container_id: 0, length: self.0.per_pod };
                if let Err(error) = write(&path, mapping) {
                    ranges.release(uid);
                    return Err(error);
                }
                first
            }
        };
        let mapping = v1::IdMapping { host_id: first, container_id: 0, length: self.0.per_pod };
        Ok(v1::UserNamespace {
            mode: v1::NamespaceMode::Pod as i32,
            uids: vec![mapping],
            gids: vec![mapping],
        })
    }

    /// The pod's directory has gone, and its range with it.
    pub(crate) fn release(&self, uid: &str) {
        if let Some(Ok(ranges)) = self.0.ranges.get() {
            ranges.lock().unwrap_or_else(PoisonError::into_inner).release(uid);
        }
    }

    fn ranges(&self) -> Result<MutexGuard<'_, Ranges>, UsersError> {
        let made = self.0.ranges.get_or_init(|| {
            let ids = subordinate(USER).and_then(|found| match found {
                Some((first, length)) => Ranges::new(first, length, self.0.per_pod, self.0.max_pods),
                // The whole space but its first part, which belongs to the node.
                None => Ranges::new(
                    self.0.per_pod,
                    u32::MAX - self.0.per_pod + 1,
                    self.0.per_pod,
                    self.0.max_pods,
                ),
            });
            let mut ranges = ids?;
            self.adopt(&mut ranges);
            Ok(Mutex::new(ranges))
        });
        match made {
            Ok(ranges) => Ok(ranges.lock().unwrap_or_else(PoisonError::into_inner)),
            Err(error) => Err(UsersError::Subordinate(error.clone())),
        }
    }

    /// What pods have had before; what is damaged is told when that pod asks.
    fn adopt(&self, ranges: &mut Ranges) {
        for entry in fs::read_dir(&self.0.pods).into_iter().flatten().flatten() {
            let Ok(uid) = entry.file_name().into_string() else { continue };
            if let Ok(Some(mapping)) = read(&entry.path().join(FILE))
                && let Err(error) = ranges.record(&uid, mapping.host_id, mapping.length)
            {
                tracing::warn!(uid, %error, "the user ids that a pod has had cannot be its own any more");
            }
        }
    }
}

fn read(path: &Path) -> Result<Option<Mapping>, UsersError> {
    let failed = |source| UsersError::File { action: "reading", path: path.to_owned(), source };
    let wrong = |problem: String| UsersError::Content { path: path.to_owned(), problem };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(meta) if meta.len() > MAX_BYTES => {
            return Err(wrong(format!("{} bytes are too many", meta.len())));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    if text.is_empty() {
        return Ok(None);
    }
    let stored: Stored = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    match (stored.uids.as_slice(), stored.gids.as_slice()) {
        ([uids], [gids]) if uids == gids && uids.container_id == 0 => Ok(Some(*uids)),
        _ => Err(wrong("it is not one range that begins with 0, the same for users and groups".to_owned())),
    }
}

fn write(path: &Path, mapping: Mapping) -> Result<(), UsersError> {
    let failed = |source| UsersError::File { action: "writing", path: path.to_owned(), source };
    let stored = Stored { uids: vec![mapping], gids: vec![mapping] };
    let text = serde_json::to_string(&stored).map_err(|e| failed(e.into()))?;
    let unfinished = path.with_added_extension("new");
    fs::write(&unfinished, text).map_err(failed)?;
    // The ids are on disk before any file belongs to them.
    fs::File::open(&unfinished).and_then(|f| f.sync_data()).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    let dir = path.parent().unwrap_or(path);
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(failed)
}

/// The ids that belong to `user` beside its own, where there is such a user.
fn subordinate(user: &str) -> Result<Option<(u32, u32)>, String> {
    if !matches!(nix::unistd::User::from_name(user), Ok(Some(_))) {
        return Ok(None);
    }
    let ask = |groups: &[&str]| -> Result<String, String> {
        let asked = Command::new("getsubids").args(groups).arg(user).output();
        let answer =
            asked.map_err(|e| format!("there is a user {user:?}, and getsubids cannot be run: {e}"))?;
        if !answer.status.success() {
            let said = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
            return Err(format!("getsubids {user} says: {said}"));
        }
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    };
    let (users, groups) = (ask(&[])?, ask(&["-g"])?);
    if users != groups {
        return Err(format!("the subordinate ids of {user:?} are not the same for users and groups"));
    }
    ranges::parse_getsubids(&users).map(Some)
}

#[cfg(test)]
mod tests;
