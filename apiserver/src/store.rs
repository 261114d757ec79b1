//! Where objects are kept: a small trait, and its embedded implementation on redb.
//!
//! A store maps keys to values. Keys are `resource/namespace/name` or `resource/name`, as `pods/default/web` and
//! `leases.coordination.k8s.io/kube-node-lease/n1`; what stands before the first `/` is the resource, the unit of
//! [`crate::cache`]. Values are JSON objects in their compact form **without `metadata.resourceVersion`**: that is the
//! revision of the last write, known only when the write is done, and [`crate::cache::Object`] puts it in on the way out.
//!
//! One revision counts all writes of a store. Every write that takes effect gets its own, larger than any before it, also over
//! kill -9 and restarts; a revision that a failed write had been given may be skipped, never given again.
//!
//! ```text
//! writes ──> Store::{create,update,delete} ──> commit ──> Sink::apply ──> the write's answer
//! ```
//!
//! A store tells one [`Sink`] (the watch cache) about every write, in the order of revisions. etcd fits behind the same trait:
//! `attach` becomes a range over everything and a watch from there, a write one transaction that compares `mod_revision`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

/// Longest key, in bytes.
pub const KEY_LIMIT_BYTES: usize = 1024;
/// Largest value, in bytes: what etcd takes in one request by default.
pub const VALUE_LIMIT_BYTES: usize = 1536 * 1024;

/// A value with its history in numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Compact JSON without `metadata.resourceVersion`.
    pub value: Bytes,
    /// The revision of the last write of the key.
    pub mod_revision: u64,
    /// The revision at which the key was created (again).
    pub create_revision: u64,
}

impl fmt::Debug for Record {
    /// Values hold secrets: their length is enough for a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("value_bytes", &self.value.len())
            .field("mod_revision", &self.mod_revision)
            .field("create_revision", &self.create_revision)
            .finish()
    }
}

/// One write that took effect: created if there is no `before`, deleted if there is no `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub revision: u64,
    pub key: Arc<str>,
    pub before: Option<Record>,
    pub after: Option<Record>,
}

/// The whole content of a store at one revision, and how it came to that.
#[derive(Debug, Default)]
pub struct Content {
    /// The revision of the last write.
    pub revision: u64,
    /// All keys in order.
    pub records: Vec<(Arc<str>, Record)>,
    /// All changes above this revision are in `changes`. Equal to `revision` if the store keeps none.
    pub floor: u64,
    /// Recent changes in the order of their revisions, up to `revision`.
    pub changes: Vec<Change>,
}

/// Who is told about writes. Called from one task or thread at a time, and must not block on a store.
pub trait Sink: Send + Sync {
    /// Everything, first of all. Called again if the store can no longer tell all changes since (etcd compacted them).
    fn load(&self, content: Content);
    /// Writes in the order of their revisions. Those of one commit come together, before any of them is answered.
    fn apply(&self, changes: Vec<Change>);
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// All keys that start with this.
    pub prefix: String,
    /// Only keys after this one.
    pub start_after: Option<String>,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// As of this revision; the last one if absent. Not every store still knows every revision.
    pub revision: Option<u64>,
}

/// Part of a store's keys, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub revision: u64,
    pub records: Vec<(Arc<str>, Record)>,
    /// Whether the limit left keys out.
    pub more: bool,
}

/// Why a store could not be opened. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("opening the store {path}: another process uses it")]
    InUse { path: PathBuf },
    #[error("opening the store {path}: it has format {found}, this program knows formats up to {supported}")]
    Newer { path: PathBuf, found: u64, supported: u64 },
    #[error(
        "opening the store {path}: the file is damaged, restore it from a backup or move it away: {reason}"
    )]
    Corrupt { path: PathBuf, reason: String },
    #[error("opening the store {path}: no space left on its file system")]
    NoSpace { path: PathBuf },
    #[error("opening the store {path}")]
    Io { path: PathBuf, source: std::io::Error },
}

/// Why a read has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The revision asked for is older than what is still known.
    #[error("reading the store at revision {requested}: changes up to {floor} are no longer known")]
    Compacted { requested: u64, floor: u64 },
    /// The revision asked for has not been written yet.
    #[error("reading the store at revision {requested}: it is at {current}")]
    Future { requested: u64, current: u64 },
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why a write did not take effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    #[error("creating {key}: it exists at revision {}", current.mod_revision)]
    AlreadyExists { key: String, current: Record },
    #[error("writing {key}: it does not exist")]
    NotFound { key: String },
    #[error("writing {key}: expected revision {expected}, it is at {}", current.mod_revision)]
    Conflict { key: String, expected: u64, current: Record },
    #[error("writing {key}: {bytes} bytes are more than the {limit} that are stored")]
    TooLarge { key: String, bytes: usize, limit: usize },
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The store itself is in trouble. Unless said otherwise the write did not and will not take effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Writes work again as soon as there is room.
    #[error("writing to the store {path}: no space left on its file system")]
    NoSpace { path: PathBuf },
    #[error("the store {path} is damaged: {reason}")]
    Corrupt { path: PathBuf, reason: String },
    #[error("the store {path} failed: {reason}")]
    Io { path: PathBuf, reason: String },
    /// The store is being closed, or its writer is gone. A write may have taken effect.
    #[error("the store is closed")]
    Closed,
}

/// Keys and values with revisions, see the module's page.
///
/// Dropping a returned future does not undo a write that was handed over.
pub trait Store: Send + Sync + fmt::Debug {
    /// Hands everything to `sink`, and from then on every change. At most once per store.
    fn attach(&self, sink: Arc<dyn Sink>) -> BoxFuture<'_, Result<(), ReadError>>;

    /// The revision of the last acknowledged write.
    fn revision(&self) -> BoxFuture<'_, Result<u64, ReadError>>;

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, ReadError>>;

    fn list(&self, range: Range) -> BoxFuture<'_, Result<Page, ReadError>>;

    /// Writes a key that does not exist.
    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Record, WriteError>>;

    /// Replaces the value of a key whose `mod_revision` is the expected one.
    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
    ) -> BoxFuture<'a, Result<Record, WriteError>>;

    /// Removes a key whose `mod_revision` is the expected one, and returns the revision of the removal.
    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<u64, WriteError>>;
}

mod embedded;

pub use embedded::Embedded;
