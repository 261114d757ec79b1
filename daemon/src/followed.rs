//! A slim copy of all objects of one kind, for what every pod may need: services, runtime classes.
//!
//! ```text
//!  first use --> snapshot of the last run --> list --> watch ...        readers see the newest of these
//! ```
//!
//! Nothing is asked of the API server before somebody needs it. What was read is kept in a file, so that after a reboot pods start
//! again without an API server as they did with it; the file is replaced in one step, at most once in [`WRITE_EVERY`], and damage to it
//! costs no more than that.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kube::Api;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::sources::watcher::{Change, Watcher};
use crate::stop::stopped;

/// How long a reader waits for the first list.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the API server may take before the copy of the last daemon is used.
const KEPT_AFTER: Duration = Duration::from_secs(2);
/// Between two writes of the file.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// What a file may hold; no more objects are kept in it than that.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Namespace, empty where the kind has none, and name.
pub(crate) type Name = (String, String);

/// What is known: `None` before anything was read.
pub(crate) type Known<S> = Option<Arc<BTreeMap<Name, S>>>;

/// Nothing was read yet, by this daemon or the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotRead;

/// Cheap to clone; see the module's page.
pub(crate) struct Followed<K, S>(Arc<Inner<K, S>>);

struct Inner<K, S> {
    /// `None` without an API server.
    client: Option<kube::Client>,
    what: &'static str,
    /// What is kept of an object; nothing of one that is of no use.
    slim: fn(&K) -> Option<S>,
    file: PathBuf,
    known: watch::Sender<Known<S>>,
    begun: OnceLock<()>,
    stop: watch::Receiver<bool>,
}

impl<K, S> Clone for Followed<K, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, S> fmt::Debug for Followed<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("what", &self.0.what).finish_non_exhaustive()
    }
}

impl<K, S> Followed<K, S>
where
    K: Clone + DeserializeOwned + fmt::Debug + kube::Resource<DynamicType = ()> + Send + Sync + 'static,
    S: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Keeps its file at `file`; follows until `stop`.
    pub(crate) fn new(
        client: Option<kube::Client>,
        what: &'static str,
        slim: fn(&K) -> Option<S>,
        file: PathBuf,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let known = watch::Sender::new(None);
        Self(Arc::new(Inner { client, what, slim, file, known, begun: OnceLock::new(), stop }))
    }

    /// What there is, after the first list; an older copy where the API server does not answer in time. Without an API server there
    /// is nothing.
    ///
    /// # Errors
    /// Nothing is known.
    pub(crate) async fn read(&self) -> Result<Arc<BTreeMap<Name, S>>, NotRead> {
        if self.0.client.is_none() {
            return Ok(Arc::default());
        }
        let mut known = self.news();
        // Both the deadline and a task that has ended leave what is known as it is.
        drop(timeout(PATIENCE, known.wait_for(Option::is_some)).await);
        let all = known.borrow().clone();
        all.ok_or(NotRead)
    }

    /// What is known at this moment, without waiting.
    pub(crate) fn known(&self) -> Arc<BTreeMap<Name, S>> {
        self.news().borrow().clone().unwrap_or_default()
    }

    /// Changes whenever what is known does; begins to follow.
    pub(crate) fn news(&self) -> watch::Receiver<Known<S>> {
        if self.0.client.is_some() && self.0.begun.set(()).is_ok() {
            tokio::spawn(run(Arc::clone(&self.0)));
        }
        self.0.known.subscribe()
    }
}

async fn run<K, S>(inner: Arc<Inner<K, S>>)
where
    K: Clone + DeserializeOwned + fmt::Debug + kube::Resource<DynamicType = ()> + Send + Sync + 'static,
    S: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let Some(client) = inner.client.clone() else { return };
    let mut stop = inner.stop.clone();
    let mut watcher = Watcher::new(Api::<K>::all(client), String::new(), inner.what);
    let mut write_at: Option<Instant> = None;
    let (mut listed, mut written) = (false, false);
    let kept_at = Instant::now() + KEPT_AFTER;
    loop {
        let due = async {
            match write_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let change = tokio::select! {
            // Cancel-safe: a level.
            () = stopped(&mut stop) => return,
            // Cancel-safe: as the watcher says.
            change = watcher.try_next() => change,
            // Cancel-safe: only a time.
            () = sleep_until(kept_at), if inner.known.borrow().is_none() && Instant::now() < kept_at => {
                take_kept(&inner);
                continue;
            }
            // Cancel-safe: only a time.
            () = due => {
                write_at = None;
                let (file, all) = (inner.file.clone(), inner.known.borrow().clone());
                let done = tokio::task::spawn_blocking(move || write(&file, all.as_deref())).await;
                if let Ok(Err(error)) = done {
                    tracing::warn!(what = inner.what, error, "what the API server said cannot be kept for the next start");
                }
                continue;
            }
        };
        let Ok(change) = change else {
            // The API server is away, or refuses: what the last daemon knew is better than nothing.
            if !listed {
                take_kept(&inner);
            }
            continue;
        };
        listed |= matches!(change, Change::Listed(_));
        let changed = inner.known.send_if_modified(|known| apply(known, change, inner.slim));
        if changed && write_at.is_none() {
            // The first list at once.
            let pause = if std::mem::replace(&mut written, true) { WRITE_EVERY } else { Duration::ZERO };
            write_at = Some(Instant::now() + pause);
        }
    }
}

/// What the last daemon knew, where nothing newer is known.
fn take_kept<K, S: DeserializeOwned>(inner: &Inner<K, S>) {
    if inner.known.borrow().is_some() {
        return;
    }
    let kept = read_file(&inner.file);
    inner.known.send_if_modified(|known| {
        *known = kept.map(Arc::new);
        known.is_some()
    });
}

fn apply<K, S>(known: &mut Known<S>, change: Change<K>, slim: fn(&K) -> Option<S>) -> bool
where
    K: kube::Resource<DynamicType = ()>,
    S: Clone + PartialEq,
{
    let name = |object: &K| {
        let meta = object.meta();
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    };
    match change {
        Change::Listed(list) => {
            let all: BTreeMap<Name, S> =
                list.iter().filter_map(|object| Some((name(object), slim(object)?))).collect();
            let differs = known.as_deref() != Some(&all);
            if differs {
                *known = Some(Arc::new(all));
            }
            differs
        }
        Change::Applied(object) => set(known, name(&object), slim(&object)),
        Change::Deleted(object) => set(known, name(&object), None),
    }
}

fn set<S: Clone + PartialEq>(known: &mut Known<S>, name: Name, value: Option<S>) -> bool {
    let all = known.get_or_insert_default();
    if all.get(&name) == value.as_ref() {
        return false;
    }
    let all = Arc::make_mut(all);
    match value {
        Some(value) => drop(all.insert(name, value)),
        None => drop(all.remove(&name)),
    }
    true
}

/// A list of names with what is kept of each: JSON has no other keys than text.
fn write<S: Clone + Serialize>(file: &Path, all: Option<&BTreeMap<Name, S>>) -> Result<(), String> {
    let Some(all) = all else { return Ok(()) };
    let list: Vec<(&Name, &S)> = all.iter().collect();
    let bytes = serde_json::to_vec(&list).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{} bytes are more than {MAX_BYTES}", bytes.len()));
    }
    let told = |e: io::Error| format!("writing {}: {e}", file.display());
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).map_err(told)?;
    }
    let unfinished = file.with_added_extension("new");
    fs::write(&unfinished, &bytes).map_err(told)?;
    fs::File::open(&unfinished).and_then(|f| f.sync_data()).map_err(told)?;
    fs::rename(&unfinished, file).map_err(told)
}

fn read_file<S: DeserializeOwned>(file: &Path) -> Option<BTreeMap<Name, S>> {
    if fs::metadata(file).ok()?.len() > MAX_BYTES {
        return None;
    }
    let text = fs::read_to_string(file).ok()?;
    let list: Vec<(Name, S)> = serde_json::from_str(&text)
        .inspect_err(
            |error| tracing::warn!(file = %file.display(), %error, "a kept copy is damaged; it is not used"),
        )
        .ok()?;
    Some(list.into_iter().collect())
}

#[cfg(test)]
mod tests;
