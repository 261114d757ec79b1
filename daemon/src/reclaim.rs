//! What the node can give back before a pod has to go: unused images, and what dead containers hold (behaviour.md 29.9).
//!
//! Whoever is short of disk asks with a [`Reclaimer`]; the garbage collector answers when it has removed what there was. One
//! request at a time is carried out, and the periodical rounds go through the same collector, so nothing is removed twice.

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait; there is one who asks.
const QUEUE: usize = 4;

/// What is to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Unused images, the longest unused first, until so many bytes have come free; `None` is all of them. Those stay that are
    /// pinned, in use, or younger than `imageMinimumGCAge`.
    Images(Option<u64>),
    /// All dead containers that no pod needs any more, with their logs, and the sandboxes of pods that are over. The newest
    /// container of each name stays with a pod that is not over.
    DeadContainers,
}

/// What was given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Images or containers.
    pub(crate) removed: usize,
    /// By the sizes that the runtime tells of images: layers that are shared count with each of their images, so measure again.
    /// 0 of containers, whose size nobody knows before.
    pub(crate) bytes: u64,
    /// Why not more, for people: `3 in use, 1 pinned`. Empty where nothing is left.
    pub(crate) kept: String,
}

/// Why nothing can be said about what was freed; some of it may be gone all the same.
#[derive(Debug, Error)]
pub(crate) enum ReclaimError {
    /// The runtime.
    #[error("{0}")]
    Failed(String),
    /// The collector has ended, as the daemon does.
    #[error("the garbage collector has ended")]
    Ended,
}

/// A request on its way to the collector.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) wanted: Wanted,
    /// Whoever asked may have gone.
    pub(crate) answer: oneshot::Sender<Result<Freed, ReclaimError>>,
}

/// Asks the garbage collector; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reclaimer(mpsc::Sender<Request>);

impl Reclaimer {
    /// The one who asks, and what the collector reads.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        (Self(requests), receiver)
    }

    /// Waits until what was wanted is gone as far as it can go. Dropped in between, the collector finishes what it has begun.
    ///
    /// # Errors
    /// What went could not be found out; see [`ReclaimError`].
    pub(crate) async fn reclaim(&self, wanted: Wanted) -> Result<Freed, ReclaimError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Request { wanted, answer }).await.map_err(|_| ReclaimError::Ended)?;
        answered.await.map_err(|_| ReclaimError::Ended)?
    }
}
