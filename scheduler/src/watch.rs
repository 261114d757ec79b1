//! List and watch of one kind, for ever, turned into inputs of the core.
//!
//! ```text
//!            list ok                     410, bad answer
//! Listing ─────────────> Watching(rv) ─────────────────────> Listing
//!    ^ │ error: back-off       │ ^ stream ended: watch again from rv
//!    └─┘                       └─┘ error: back-off, then watch again from rv
//! ```
//!
//! Objects are cut down to what is kept as soon as they are read; a list comes in pages, so that a large cluster is
//! never in memory as a whole.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::cause::chain;
use crate::core::Input;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::storage::{ClaimInfo, ClassInfo, VolumeInfo};

const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const PAGE: u32 = 500;
/// The server ends a watch after this; a connection on which nothing came for longer is dead.
const WATCH_SECONDS: u32 = 270;
const IDLE_MARGIN: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const MOST_RETRY: Duration = Duration::from_secs(5);

/// A kind that the scheduler follows.
pub(crate) trait Followed:
    Clone + Debug + serde::de::DeserializeOwned + kube::Resource + Send + 'static
{
    /// For the log.
    const WHAT: &'static str;
    /// What is kept of an object.
    type Kept: Send;

    fn keep(&self) -> Self::Kept;
    fn listed(all: Vec<Self::Kept>) -> Input;
    fn applied(kept: Self::Kept) -> Input;
    fn gone(&self) -> Input;
}

impl Followed for Node {
    const WHAT: &'static str = "nodes";
    type Kept = NodeInfo;

    fn keep(&self) -> NodeInfo {
        NodeInfo::of(self)
    }

    fn listed(all: Vec<NodeInfo>) -> Input {
        Input::Nodes(all)
    }

    fn applied(kept: NodeInfo) -> Input {
        Input::Node(kept)
    }

    fn gone(&self) -> Input {
        Input::NodeGone(Arc::from(self.metadata.name.as_deref().unwrap_or_default()))
    }
}

impl Followed for Pod {
    const WHAT: &'static str = "pods";
    type Kept = PodInfo;

    fn keep(&self) -> PodInfo {
        PodInfo::of(self)
    }

    fn listed(all: Vec<PodInfo>) -> Input {
        Input::Pods(all)
    }

    fn applied(kept: PodInfo) -> Input {
        Input::Pod(kept)
    }

    fn gone(&self) -> Input {
        Input::PodGone(Arc::from(self.metadata.uid.as_deref().unwrap_or_default()))
    }
}

impl Followed for PersistentVolume {
    const WHAT: &'static str = "persistent volumes";
    type Kept = VolumeInfo;

    fn keep(&self) -> VolumeInfo {
        VolumeInfo::of(self)
    }

    fn listed(all: Vec<VolumeInfo>) -> Input {
        Input::Volumes(all)
    }

    fn applied(kept: VolumeInfo) -> Input {
        Input::Volume(kept.name.clone(), Some(kept))
    }

    fn gone(&self) -> Input {
        Input::Volume(VolumeInfo::of(self).name, None)
    }
}

impl Followed for PersistentVolumeClaim {
    const WHAT: &'static str = "persistent volume claims";
    type Kept = ClaimInfo;

    fn keep(&self) -> ClaimInfo {
        ClaimInfo::of(self)
    }

    fn listed(all: Vec<ClaimInfo>) -> Input {
        Input::Claims(all)
    }

    fn applied(kept: ClaimInfo) -> Input {
        Input::Claim(kept.key.clone(), Some(kept))
    }

    fn gone(&self) -> Input {
        Input::Claim(ClaimInfo::of(self).key, None)
    }
}

impl Followed for StorageClass {
    const WHAT: &'static str = "storage classes";
    type Kept = ClassInfo;

    fn keep(&self) -> ClassInfo {
        ClassInfo::of(self)
    }

    fn listed(all: Vec<ClassInfo>) -> Input {
        Input::Classes(all)
    }

    fn applied(kept: ClassInfo) -> Input {
        Input::Class(kept.name.clone(), Some(kept))
    }

    fn gone(&self) -> Input {
        Input::Class(ClassInfo::of(self).name, None)
    }
}

/// Why list or watch did not go on.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("the API server did not answer in time")]
    NoAnswer,
    #[error("the list has no resourceVersion")]
    NoVersion,
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Nobody takes inputs any more.
    #[error("the scheduler is stopping")]
    Stopping,
}

impl WatchError {
    /// Whether the server has forgotten the version, or says what cannot be understood: only a list helps.
    fn needs_list(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(_) | kube::Error::SerdeError(_)))
    }

    fn is_gone(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 410)
    }
}

/// Follows all objects of a kind until nobody takes inputs any more.
pub(crate) async fn follow<K: Followed>(api: Api<K>, inputs: mpsc::Sender<Input>) {
    let mut version: Option<String> = None;
    let mut outage = Outage::new(K::WHAT);
    loop {
        let ended = match &mut version {
            None => list(&api, &inputs, &mut outage).await.map(|listed| version = Some(listed)),
            Some(version) => watch(&api, version, &inputs, &mut outage).await,
        };
        match ended {
            Ok(()) => {}
            Err(WatchError::Stopping) => return,
            Err(error) => {
                if error.needs_list() {
                    version = None;
                }
                if error.is_gone() {
                    tracing::debug!(what = K::WHAT, "the watch is too old; listing again");
                    sleep(FIRST_RETRY).await;
                } else {
                    sleep(outage.failed(&error)).await;
                }
            }
        }
    }
}

/// The time in which the server does not answer: said once when it begins and once when it ends.
#[derive(Debug)]
struct Outage {
    what: &'static str,
    failing: bool,
    retry: Duration,
}

impl Outage {
    fn new(what: &'static str) -> Self {
        Self { what, failing: false, retry: FIRST_RETRY }
    }

    /// The server has answered: a list came, or a watch has begun.
    fn answered(&mut self) {
        if self.failing {
            tracing::info!(what = self.what, "the API server answers again");
        }
        *self = Self::new(self.what);
    }

    /// When to try again.
    fn failed(&mut self, error: &WatchError) -> Duration {
        if !self.failing {
            tracing::warn!(
                what = self.what,
                error = chain(error),
                "list and watch failed; tried again until it works"
            );
        }
        self.failing = true;
        let now = self.retry;
        self.retry = MOST_RETRY.min(now * 2);
        now
    }
}

/// Hands on all objects; the version to watch from.
async fn list<K: Followed>(
    api: &Api<K>,
    inputs: &mpsc::Sender<Input>,
    outage: &mut Outage,
) -> Result<String, WatchError> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut params = ListParams::default().limit(PAGE);
        params.continue_token = token.take();
        let page = timeout(CALL_TIMEOUT, api.list(&params)).await.map_err(|_| WatchError::NoAnswer)??;
        all.extend(page.items.iter().map(K::keep));
        token = page.metadata.continue_.filter(|t| !t.is_empty());
        if token.is_none() {
            let version = page.metadata.resource_version.filter(|v| !v.is_empty());
            let version = version.ok_or(WatchError::NoVersion)?;
            outage.answered();
            inputs.send(K::listed(all)).await.map_err(|_| WatchError::Stopping)?;
            return Ok(version);
        }
    }
}

/// Hands on changes until the server ends the stream; `version` moves along.
async fn watch<K: Followed>(
    api: &Api<K>,
    version: &mut String,
    inputs: &mpsc::Sender<Input>,
    outage: &mut Outage,
) -> Result<(), WatchError> {
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    let idle = Duration::from_secs(WATCH_SECONDS.into()) + IDLE_MARGIN;
    let opened = timeout(CALL_TIMEOUT, api.watch(&params, version)).await;
    let mut events = opened.map_err(|_| WatchError::NoAnswer)??.boxed();
    outage.answered();
    let mut silent = true;
    while let Some(event) = timeout(idle, events.try_next()).await.map_err(|_| WatchError::NoAnswer)?? {
        silent = false;
        let (object, input) = match event {
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            WatchEvent::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                continue;
            }
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let input = K::applied(object.keep());
                (object, input)
            }
            WatchEvent::Deleted(object) => {
                let input = object.gone();
                (object, input)
            }
        };
        if let Some(newer) = &object.meta().resource_version {
            version.clone_from(newer);
        }
        drop(object);
        inputs.send(input).await.map_err(|_| WatchError::Stopping)?;
    }
    if silent {
        // A server that ends each watch at once must not be asked in a loop.
        sleep(FIRST_RETRY).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
