//! The embedded store: one redb file, one thread that owns it.
//!
//! ```text
//!  requests ──bounded channel──> thread: take all writes that wait ─> one redb commit (fsync) ─> Sink::apply ─> answers
//! ```
//!
//! Writes that come while a commit is under way share the next one (group commit), so that the rate grows with the number of
//! writers while the disk does the same number of syncs. A commit is all or nothing: after kill -9 the file is as it was
//! after the last commit, which includes everything that was acknowledged.
//!
//! | File | Module | What |
//! |---|---|---|
//! | `store.redb` | [`database`] | tables `meta` (format, revision), `objects` (key → revisions, JSON), `undo` (revision → what was before) |
//! | | [`operation`] | what one write does to one key; pure |
//! | | [`undo`] | the recent changes: how they are encoded, pruned and rebuilt; pure |
//! | | [`writer`] | the thread: groups, commits, recovers from a full disk |

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{
    Failure, KEY_LIMIT_BYTES, OpenError, Page, Range, ReadError, Record, Sink, Store, VALUE_LIMIT_BYTES,
    WriteError,
};

mod database;
mod operation;
mod undo;
mod writer;

use operation::{Operation, Written};
use writer::{Request, Writer};

/// Requests that wait at most; further callers wait before they are queued.
const QUEUE: usize = 1024;

/// A store in one file on this machine. Dropping it waits for the commit under way and closes the file.
pub struct Embedded {
    path: PathBuf,
    /// Taken when the store is dropped.
    requests: Option<mpsc::Sender<Request>>,
    /// The last acknowledged revision.
    revision: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the file, or creates it (mode 0600) if there is none. Its whole content is checked, so this may take a second for
    /// some hundred megabytes; it blocks.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = database::open(path)?;
        let revision = Arc::new(AtomicU64::new(opened.revision));
        let (requests, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(path.to_owned(), opened, revision.clone());
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), requests: Some(requests), revision, thread: Some(thread) })
    }

    /// Hands a request to the thread and waits for the answer.
    async fn ask<T, E: From<Failure>>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Request,
    ) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(Failure::Closed)?;
        requests.send(request(reply)).await.map_err(|_| Failure::Closed)?;
        answer.await.unwrap_or_else(|_| Err(Failure::Closed.into()))
    }

    async fn write(&self, key: &str, operation: Operation) -> Result<Written, WriteError> {
        let too_large =
            |bytes, limit| WriteError::TooLarge { key: key.chars().take(100).collect(), bytes, limit };
        if key.len() > KEY_LIMIT_BYTES {
            return Err(too_large(key.len(), KEY_LIMIT_BYTES));
        }
        if operation.value_bytes() > VALUE_LIMIT_BYTES {
            return Err(too_large(operation.value_bytes(), VALUE_LIMIT_BYTES));
        }
        self.ask(|reply| Request::Write(writer::Write { key: key.into(), operation, reply })).await
    }

    async fn put(&self, key: &str, operation: Operation) -> Result<Record, WriteError> {
        let written = self.write(key, operation).await?;
        Ok(written.record.expect("a create and an update leave a record"))
    }
}

impl Store for Embedded {
    fn attach(&self, sink: Arc<dyn Sink>) -> BoxFuture<'_, Result<(), ReadError>> {
        self.ask(|reply| Request::Attach { sink, reply }).boxed()
    }

    fn revision(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        let revision = self.revision.load(Ordering::Acquire);
        async move { Ok(revision) }.boxed()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, ReadError>> {
        self.ask(|reply| Request::Get { key: key.to_owned(), reply }).boxed()
    }

    fn list(&self, range: Range) -> BoxFuture<'_, Result<Page, ReadError>> {
        self.ask(|reply| Request::List { range, reply }).boxed()
    }

    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Record, WriteError>> {
        self.put(key, Operation::Create(value)).boxed()
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
    ) -> BoxFuture<'a, Result<Record, WriteError>> {
        self.put(key, Operation::Update { value, expected }).boxed()
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<u64, WriteError>> {
        async move { Ok(self.write(key, Operation::Delete { expected }).await?.revision) }.boxed()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The thread ends when the queue is closed and empty; then the file is closed and may be opened again.
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the store's thread had panicked");
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("path", &self.path)
            .field("revision", &self.revision.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
