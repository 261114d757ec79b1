//! What a request holds for as long as it is answered: its places among those that are answered at once, and its connection's.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::reply::Reply;
use crate::metrics::Inflight;

/// Answers that are whole when they begin, at once and on both ports: each holds its text until its caller has read it.
const SHORT: usize = 64;
/// Answers that last: logs, files, and streams, which have a bound of their own below this one. Each holds what its buffers hold.
const LASTING: usize = 2048;

/// Places for answers; shared by the servers.
#[derive(Clone, Debug)]
pub(super) struct Places {
    short: Arc<Semaphore>,
    lasting: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { short: Arc::new(Semaphore::new(SHORT)), lasting: Arc::new(Semaphore::new(LASTING)) }
    }

    /// A place, if one is free.
    fn take(&self, lasts: bool) -> Option<OwnedSemaphorePermit> {
        Arc::clone(if lasts { &self.lasting } else { &self.short }).try_acquire_owned().ok()
    }
}

/// A connection, and how much goes on over it.
#[derive(Debug)]
pub(super) struct Connection {
    all: AtomicUsize,
    lasting: AtomicUsize,
    changed: Notify,
}

impl Connection {
    pub(super) fn new() -> Arc<Self> {
        let (all, lasting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { all, lasting, changed: Notify::new() })
    }

    /// Whether an answer is under way that lasts.
    pub(super) fn has_lasting(&self) -> bool {
        self.lasting.load(Ordering::Relaxed) > 0
    }

    /// Resolves when nothing has gone on for so long.
    pub(super) async fn idle(&self, for_so_long: std::time::Duration) {
        loop {
            let changed = self.changed.notified();
            if self.all.load(Ordering::Relaxed) > 0 {
                changed.await;
                continue;
            }
            tokio::select! {
                // Cancel-safe: what has changed is read again.
                () = changed => {}
                // Cancel-safe: only a time.
                () = tokio::time::sleep(for_so_long) => return,
            }
        }
    }
}

/// A request that is being answered, until the last of its clones is dropped. It lies in the request's extensions and in the
/// body of the answer; whoever takes over the connection keeps it for as long as that lasts.
#[derive(Clone, Debug)]
pub(super) struct Ongoing {
    request: Arc<Request>,
}

#[derive(Debug)]
struct Request {
    connection: Arc<Connection>,
    lasts: bool,
    place: OnceLock<OwnedSemaphorePermit>,
    _inflight: Option<Inflight>,
}

impl Ongoing {
    pub(super) fn new(connection: Arc<Connection>, lasts: bool, inflight: Option<Inflight>) -> Self {
        connection.all.fetch_add(1, Ordering::Relaxed);
        connection.lasting.fetch_add(lasts.into(), Ordering::Relaxed);
        connection.changed.notify_one();
        Self { request: Arc::new(Request { connection, lasts, place: OnceLock::new(), _inflight: inflight }) }
    }

    /// Takes a place among those that are answered; `false` where none is free.
    pub(super) fn take_place(&self, places: &Places) -> bool {
        match places.take(self.request.lasts) {
            Some(place) => self.request.place.set(place).is_ok(),
            None => false,
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.connection.all.fetch_sub(1, Ordering::Relaxed);
        self.connection.lasting.fetch_sub(self.lasts.into(), Ordering::Relaxed);
        self.connection.changed.notify_one();
    }
}

/// Has the answer's body hold `what` until it was sent or given up.
pub(super) fn hold<T: Send + Unpin + 'static>(reply: Reply, what: T) -> Reply {
    reply.map(|inner| Held { inner, _what: what }.boxed_unsync())
}

struct Held<T> {
    inner: UnsyncBoxBody<Bytes, Infallible>,
    _what: T,
}

impl<T: Unpin> Body for Held<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
