//! The watch cache: all objects in memory, with the last changes of each resource. All requests read and write here.
//!
//! ```text
//!   create, update, delete ──> Store ──> Sink::apply ─> per resource: objects + window of events ──wake──> watchers
//!                                                            │
//!   get, list (latest, exact, continue) <────────────────────┘
//! ```
//!
//! * An [`Object`] is its compact JSON plus a revision; a response is copied together from bytes without parsing. Selectors
//!   parse on demand, see [`Object::value`].
//! * A resource keeps its last events, bounded by count and bytes. An old revision is the present minus the events since.
//! * Watchers have no queues: each holds a revision and pulls from the shared window, woken once per commit. A watcher that falls
//!   behind the window ends with [`WatchEnd::Expired`] (410) and costs no memory until then.
//! * A write returns when its event is in the cache, so that a following read sees it.
//!
//! What survives a restart is in the store, which hands back the recent changes too: a watcher resumes across it.
//!
//! Memory grows with the number of resources that are asked for; callers pass only resources that exist.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::store::{Change, Content, ReadError, Record, Sink, Store, WriteError};

mod event;
mod listing;
mod object;
mod state;
mod watcher;

pub use event::{Event, EventKind, Sight};
pub use listing::{Continue, ContinueError, ListError, ListQuery, Listing, ReadAt};
pub use object::{Object, set_resource_version};
use state::State;
pub use watcher::{Freshness, WatchEnd, WatchError, WatchItem, WatchQuery, WatchStart, Watcher};

/// How long a request for a revision that does not exist yet waits for it (as upstream).
pub const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a write that took effect waits to be seen in the cache. Only a store whose changes come from afar needs it.
const APPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a resource's window holds at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub events: usize,
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 2048, bytes: 8 * 1024 * 1024 }
    }
}

/// All objects and their recent history, see the module's page.
pub struct Cache {
    store: Arc<dyn Store>,
    state: Arc<Shared>,
}

/// What the store's task and the requests share.
struct Shared {
    /// Held for moments only, never over an await.
    state: RwLock<State>,
    /// The revision up to which everything has been applied.
    applied: watch::Sender<u64>,
}

impl Cache {
    /// Reads the whole store, and from then on follows it.
    pub async fn open(store: Arc<dyn Store>, limits: Limits) -> Result<Arc<Self>, ReadError> {
        let state =
            Arc::new(Shared { state: RwLock::new(State::new(limits)), applied: watch::Sender::new(0) });
        store.attach(state.clone()).await?;
        Ok(Arc::new(Self { store, state }))
    }

    /// The revision that the cache is at.
    pub fn revision(&self) -> u64 {
        *self.state.applied.borrow()
    }

    /// The object as of the last acknowledged write.
    pub async fn get(&self, key: &str) -> Result<Option<Arc<Object>>, ReadError> {
        self.catch_up().await?;
        Ok(self.get_cached(key))
    }

    /// The object as the cache has it, which with the embedded store is the last acknowledged write.
    pub fn get_cached(&self, key: &str) -> Option<Arc<Object>> {
        self.state.read().get(key)
    }

    /// All objects below a prefix (`pods/`, `pods/default/`) as the cache has them, in key order.
    pub fn list_cached(&self, prefix: &str) -> Vec<Arc<Object>> {
        self.state.read().objects(prefix, None)
    }

    /// The revision of the last change below a resource's prefix (`pods/`), or one above it: while it stays, nothing has changed.
    pub fn changed_at(&self, prefix: &str) -> u64 {
        self.state.read().changed_at(prefix)
    }

    /// Says when a resource changes; the value is a revision.
    pub fn changes(&self, prefix: &str) -> watch::Receiver<u64> {
        self.state.write().subscribe(prefix)
    }

    /// A consistent list, whole or in pages. Only objects that `filter` accepts are returned and counted; without a filter
    /// nothing is parsed.
    pub async fn list(
        &self,
        query: &ListQuery,
        filter: Option<&(dyn Fn(&Value) -> bool + Sync)>,
    ) -> Result<Listing, ListError> {
        listing::list(self, query, filter).await
    }

    /// Starts a watch. The watcher keeps the cache alive.
    pub async fn watch(self: &Arc<Self>, query: WatchQuery) -> Result<Watcher, WatchError> {
        Watcher::start(self.clone(), query).await
    }

    /// Stores a new object. `metadata.resourceVersion` is removed first; the answer has the one it got.
    pub async fn create(&self, key: &str, value: Value) -> Result<Arc<Object>, WriteError> {
        let record = self.store.create(key, stored_json(value)).await?;
        Ok(self.written(key, record).await)
    }

    /// Replaces an object that is at revision `expected`. If nothing changes, nothing is written, and the object keeps its
    /// revision (as upstream).
    pub async fn update(&self, key: &str, value: Value, expected: u64) -> Result<Arc<Object>, WriteError> {
        let json = stored_json(value);
        if let Some(current) = self.get_cached(key)
            && current.revision() == expected
            && *current.stored_json() == json
        {
            return Ok(current);
        }
        let record = self.store.update(key, json, expected).await?;
        Ok(self.written(key, record).await)
    }

    /// Removes an object that is at revision `expected`. The answer is its last version with the revision of the removal.
    pub async fn delete(&self, key: &str, expected: u64) -> Result<Arc<Object>, WriteError> {
        let last = match self.get_cached(key) {
            Some(object) if object.revision() == expected => object,
            _ => self.stored(key, expected).await?,
        };
        let revision = self.store.delete(key, expected).await?;
        self.applied(revision).await;
        Ok(Arc::new(last.at(revision)))
    }

    /// The store's version, where the cache does not have the expected one.
    async fn stored(&self, key: &str, expected: u64) -> Result<Arc<Object>, WriteError> {
        let read = self.store.get(key).await.map_err(|error| match error {
            ReadError::Failed(failure) => WriteError::Failed(failure),
            // A read of the present asks for no revision.
            ReadError::Compacted { .. } | ReadError::Future { .. } => {
                WriteError::NotFound { key: key.to_owned() }
            }
        })?;
        match read {
            None => Err(WriteError::NotFound { key: key.to_owned() }),
            Some(current) if current.mod_revision != expected => {
                Err(WriteError::Conflict { key: key.to_owned(), expected, current })
            }
            Some(record) => Ok(Arc::new(Object::new(key.into(), record))),
        }
    }

    /// The object of a write that took effect, when the cache has it.
    async fn written(&self, key: &str, record: Record) -> Arc<Object> {
        self.applied(record.mod_revision).await;
        match self.get_cached(key) {
            Some(object) if object.revision() == record.mod_revision => object,
            // Written again since.
            _ => Arc::new(Object::new(key.into(), record)),
        }
    }

    async fn applied(&self, revision: u64) {
        if self.wait_for(revision, APPLY_TIMEOUT).await.is_err() {
            tracing::warn!(revision, "a write took effect, but the store has not told of it");
        }
    }

    /// Waits until the cache has everything that was acknowledged before the call.
    async fn catch_up(&self) -> Result<u64, ReadError> {
        let revision = self.store.revision().await?;
        self.wait_for(revision, APPLY_TIMEOUT)
            .await
            .map_err(|current| ReadError::Future { requested: revision, current })?;
        Ok(revision)
    }

    /// Waits until the cache is at least at `revision`; `Err` is the revision that it has after the timeout.
    async fn wait_for(&self, revision: u64, timeout: Duration) -> Result<(), u64> {
        let mut applied = self.state.applied.subscribe();
        if *applied.borrow_and_update() >= revision {
            return Ok(());
        }
        match tokio::time::timeout(timeout, applied.wait_for(|r| *r >= revision)).await {
            Ok(Ok(_)) => Ok(()),
            // The sender lives as long as the cache.
            Ok(Err(_)) | Err(_) => Err(self.revision()),
        }
    }
}

/// What is stored of an object.
fn stored_json(mut value: Value) -> Bytes {
    object::remove_resource_version(&mut value);
    Bytes::from(
        serde_json::to_vec(&value).expect("a JSON tree has string keys only, so that it can be written"),
    )
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Shared {
    fn load(&self, content: Content) {
        let revision = content.revision;
        let wakes = {
            let mut state = self.write();
            state.load(content);
            state.all_wakes()
        };
        self.applied.send_replace(revision);
        wakes.wake(revision);
    }

    fn apply(&self, changes: Vec<Change>) {
        let Some(revision) = changes.last().map(|c| c.revision) else { return };
        let wakes = self.write().apply(changes);
        self.applied.send_replace(revision);
        wakes.wake(revision);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
