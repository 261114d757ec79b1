//! What the node, its pods and their containers use (behaviour.md 28, 44): read when somebody asks, and by nobody else.
//!
//! | module | owns |
//! |---|---|
//! | `figures` | what there is to be known |
//!
//! A question says how old its answer may be. Nothing is read between questions.

mod figures;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::figures::*;

/// Answers what is in use; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {}

impl Usage {
    /// The node, as it was no longer than `max_age` ago.
    pub(crate) async fn node(&self, max_age: Duration) -> Arc<NodeUsage> {
        let _ = (max_age, &self.0);
        Arc::new(NodeUsage::default())
    }

    /// Every pod that has something running, as it was no longer than `max_age` ago; what they take of the disk as it was counted
    /// last, if it was.
    pub(crate) async fn pods(&self, max_age: Duration) -> Arc<Vec<PodUsage>> {
        let _ = (max_age, &self.0);
        Arc::new(Vec::new())
    }

    /// The same, and what they take of the disk counted no longer than `disk_age` ago. That can take seconds: it reads directories,
    /// slowly.
    pub(crate) async fn pods_and_disk(&self, max_age: Duration, disk_age: Duration) -> Arc<Vec<PodUsage>> {
        let _ = disk_age;
        self.pods(max_age).await
    }
}
