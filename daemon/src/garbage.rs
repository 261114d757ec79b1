//! Garbage collection: images that nobody uses, dead containers beyond the limits, links to logs that are gone (behaviour.md 15, 40).
//!
//! ```text
//! 30 s, then each  |
//! 5 minutes -------+                +-- images: list, who uses them --image_gc (pure)--> RemoveImage, one after the other
//! each minute -----+-> collector ---+-- containers: list --dead_containers (pure)--> the pods' tasks, which remove them
//! eviction --------+                '-- links: those that dangle --> removed
//! ```
//!
//! One task owns what is known of images: since when they are there and when they were used, which no restart survives. What of a pod's
//! own containers goes is its machine's affair (`lifecycle`, `trim`): it is only told which are to go.

mod containers;
mod images;
mod links;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cri_client::Client;
use eviction::image_gc::{Complaints, History, Policy};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::cause::chain;
use crate::config::Config;
use crate::events::Recorder;
use crate::images::Images;
use crate::metrics::Metrics;
use crate::node::RuntimeState;
use crate::pods::Shown;
use crate::reclaim::{ReclaimError, Request, Wanted};
use crate::stop::stopped;

/// Before the first rounds: sources and runtime have told by then which pods there are.
const FIRST: Duration = Duration::from_secs(30);
/// behaviour.md 15.1.
const IMAGES_EVERY: Duration = Duration::from_secs(300);
/// behaviour.md 40.1.
const CONTAINERS_EVERY: Duration = Duration::from_secs(60);
/// Until the runtime has told once which images there are.
const FIRST_AGAIN: Duration = Duration::from_secs(5);

/// Pods that wait to be told which of their containers are to go.
pub(crate) const TRIM_QUEUE: usize = 64;

/// Containers of one pod that are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trimmed {
    pub(crate) uid: String,
    /// The runtime's ids.
    pub(crate) ids: Vec<String>,
}

/// Limits for all dead containers of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadLimits {
    /// `--maximum-dead-containers`; `None` is as many as there are.
    pub(crate) most: Option<usize>,
    /// `--minimum-container-ttl-duration`
    pub(crate) min_age: Duration,
}

/// What decides.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) images: Policy,
    pub(crate) dead: DeadLimits,
    /// `podLogsDir`.
    pub(crate) pod_logs: PathBuf,
    /// Where the links to all containers' logs are.
    pub(crate) container_logs: PathBuf,
}

impl Settings {
    pub(crate) fn new(config: &Config, dead: DeadLimits, container_logs: PathBuf) -> Self {
        let percent = |value: i32| u64::try_from(value).unwrap_or(0);
        let images = Policy {
            high_percent: percent(config.image_gc_high_threshold_percent),
            low_percent: percent(config.image_gc_low_threshold_percent),
            min_age: config.image_minimum_gc_age.to_std(),
            max_age: Some(config.image_maximum_gc_age.to_std()).filter(|age| !age.is_zero()),
        };
        Self { images, dead, pod_logs: PathBuf::from(&config.pod_logs_dir), container_logs }
    }
}

/// What the collector works with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) cri: Client,
    pub(crate) images: Images,
    pub(crate) pods: Shown,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    /// Told where images have gone, so that the node's status lists them anew.
    pub(crate) runtime: watch::Sender<RuntimeState>,
    /// To the supervisor of the pods.
    pub(crate) trims: mpsc::Sender<Trimmed>,
}

/// Bytes of the file system at a path: capacity and what is available.
type Measure = Arc<dyn Fn(&std::path::Path) -> Result<(u64, u64), String> + Send + Sync>;

fn bytes(path: &std::path::Path) -> Result<(u64, u64), String> {
    let measured = eviction::drivers::filesystem::measure(path).map_err(|error| chain(&error))?;
    Ok((measured.bytes.capacity, measured.bytes.available))
}

/// See the module's page.
pub(crate) struct Collector {
    parts: Parts,
    settings: Settings,
    requests: mpsc::Receiver<Request>,
    measure: Measure,
    history: History,
    /// What the rounds for images and for containers have to complain of.
    image_failures: Complaints,
    container_failures: Complaints,
    sandbox_images: images::SandboxImages,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Collector {
    pub(crate) fn new(parts: Parts, settings: Settings, requests: mpsc::Receiver<Request>) -> Self {
        Self {
            parts,
            settings,
            requests,
            measure: Arc::new(bytes),
            history: History::default(),
            image_failures: Complaints::default(),
            container_failures: Complaints::default(),
            sandbox_images: images::SandboxImages::default(),
        }
    }

    /// Runs until `stop`. A removal that is under way then is the runtime's to finish.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            // Cancel-safe: a level.
            () = stopped(&mut stop) => {}
            // Cut off only when the daemon ends.
            () = self.work() => {}
        }
    }

    async fn work(&mut self) {
        // From here on ages are counted; nothing is removed before.
        while let Err(error) = self.look(&[]).await {
            tracing::debug!(error, "images cannot be listed yet");
            tokio::time::sleep(FIRST_AGAIN).await;
        }
        let first = Instant::now() + FIRST;
        let (mut images, mut containers) =
            (interval_at(first, IMAGES_EVERY), interval_at(first, CONTAINERS_EVERY));
        for ticks in [&mut images, &mut containers] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut asked = true;
        loop {
            tokio::select! {
                biased;
                // Cancel-safe: receiving takes nothing until it returns. First: pods go if it takes long.
                request = self.requests.recv(), if asked => match request {
                    Some(request) => self.reclaim(request).await,
                    None => asked = false,
                },
                // Cancel-safe: a tick that is not taken stays due.
                _ = containers.tick(), if self.settings.dead.most.is_some() => self.containers_round().await,
                // Cancel-safe: the same.
                _ = images.tick() => {
                    self.images_round().await;
                    self.links_round().await;
                }
            }
        }
    }

    async fn reclaim(&mut self, Request { wanted, answer }: Request) {
        let freed = match wanted {
            Wanted::Images(bytes) => self.reclaim_images(bytes).await,
            Wanted::DeadContainers => self.reclaim_containers().await,
        };
        if let Ok(freed) = &freed {
            tracing::info!(
                ?wanted,
                removed = freed.removed,
                bytes = freed.bytes,
                kept = freed.kept,
                "room was asked for"
            );
        }
        // Whoever asked may have gone.
        let _ = answer.send(freed.map_err(ReclaimError::Failed));
    }
}

#[cfg(test)]
mod tests;
