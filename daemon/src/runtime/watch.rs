//! Notices what the runtime does by itself.
//!
//! The runtime's event stream gives speed; a full reading gives certainty: each minute beside the stream, each second
//! where the runtime has none (design.md 2.2). Events only say which pod is to be looked at. Beside both, the runtime's
//! own conditions are asked for every ten seconds, for the node's status.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use cri_client::{Client, Event, v1};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::container_config::{HASH, NAME_LABEL};
use super::news::News;
use crate::metrics::Work;
use crate::sources::CONFIG_SOURCE;
use crate::stop::stopped;

const AUDIT_WITH_EVENTS: Duration = Duration::from_secs(60);
const AUDIT_WITHOUT_EVENTS: Duration = Duration::from_secs(1);
/// After a reading that failed.
const AUDIT_RETRY: Duration = Duration::from_millis(500);
const RUNNING: i32 = v1::ContainerState::ContainerRunning as i32;
const POD_UID: &str = "io.kubernetes.pod.uid";

/// A pod that the runtime has something of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Differs where anything that the lists show differs.
    pub(crate) digest: u64,
    /// Of a pod that was made from a manifest: the hashes of the containers that run, by their names.
    pub(crate) manifest: Option<BTreeMap<String, String>>,
}

/// What is told about the runtime.
#[derive(Clone, Debug)]
pub(crate) enum RuntimeEvent {
    /// Something happened to this pod.
    Changed { uid: String, news: News },
    /// The runtime answers again after it did not.
    Back,
    /// Everything was read.
    Audited {
        /// When the reading began: what was known to be gone by then is not in it.
        begun: Instant,
        /// By UID.
        found: HashMap<String, Found>,
    },
}

/// Reads events and audits until the receiver is gone.
#[derive(Debug)]
pub(crate) struct Watcher {
    client: Client,
    work: Work,
    tell: mpsc::Sender<RuntimeEvent>,
}

impl Watcher {
    pub(crate) fn new(client: Client, work: Work, tell: mpsc::Sender<RuntimeEvent>) -> Self {
        Self { client, work, tell }
    }

    /// Runs until `stop`.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut events = Some(self.client.events());
        let mut lost = false;
        let mut next_audit = Instant::now();
        let mut last_audit: Option<Instant> = None;
        let mut every = AUDIT_WITH_EVENTS;
        loop {
            let event = async {
                match &mut events {
                    Some(stream) => stream.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Cancel-safe: a level.
                () = stopped(&mut stop) => return,
                // Cancel-safe: see EventStream::next.
                event = event => match event {
                    Some(Event::Container(event)) => {
                        if let Some(told) = told(&event) && self.tell.send(told).await.is_err() {
                            return;
                        }
                    }
                    Some(Event::Connected) => {
                        if std::mem::take(&mut lost) {
                            tracing::info!("the container runtime answers again");
                            let _ = self.tell.send(RuntimeEvent::Back).await;
                        }
                        next_audit = Instant::now();
                    }
                    Some(Event::Lost { error }) => {
                        if !std::mem::replace(&mut lost, true) {
                            tracing::warn!(%error, "the container runtime's events are lost; tried again until they are back");
                        }
                    }
                    Some(Event::Unsupported) => {
                        tracing::warn!("the container runtime has no event stream: its state is read every second");
                        every = AUDIT_WITHOUT_EVENTS;
                        next_audit = Instant::now();
                    }
                    None => events = None,
                },
                // Cancel-safe: only a time.
                () = sleep_until(next_audit), if !lost => {
                    let begun = Instant::now();
                    let audited = self.audit().await;
                    self.work.relisted(begun.elapsed(), last_audit.replace(begun).map(|last| begun - last));
                    next_audit = Instant::now() + match audited {
                        Some(found) => {
                            let _ = self.tell.send(RuntimeEvent::Audited { begun, found }).await;
                            every
                        }
                        None => AUDIT_RETRY,
                    };
                }
            }
        }
    }

    /// Both lists, one after the other: with a thousand pods each takes megabytes while it is read.
    async fn audit(&self) -> Option<HashMap<String, Found>> {
        let mut parts = Parts::default();
        let read = async {
            let sandboxes = self.client.list_pod_sandboxes(HashMap::new()).await?;
            sandboxes.iter().for_each(|s| parts.sandbox(s));
            drop(sandboxes);
            let containers = self.client.list_containers(HashMap::new()).await?;
            containers.iter().for_each(|c| parts.container(c));
            Ok::<_, cri_client::CallError>(())
        };
        match read.await {
            Ok(()) => Some(parts.found()),
            Err(error) => {
                tracing::warn!(%error, "the container runtime's state cannot be read; tried again");
                None
            }
        }
    }
}

fn told(event: &v1::ContainerEventResponse) -> Option<RuntimeEvent> {
    const CREATED: i32 = v1::ContainerEventType::ContainerCreatedEvent as i32;
    const STARTED: i32 = v1::ContainerEventType::ContainerStartedEvent as i32;
    const STOPPED: i32 = v1::ContainerEventType::ContainerStoppedEvent as i32;
    let uid = pod_uid(event)?;
    let id = event.container_id.clone();
    let news = match event.container_event_type {
        CREATED => News::Created { id },
        STARTED => News::Started { id },
        STOPPED => News::Stopped { id },
        _ => News::Other,
    };
    Some(RuntimeEvent::Changed { uid, news })
}

fn pod_uid(event: &v1::ContainerEventResponse) -> Option<String> {
    let sandbox = event.pod_sandbox_status.as_ref()?;
    let uid = sandbox.metadata.as_ref().map(|m| m.uid.clone());
    uid.filter(|u| !u.is_empty()).or_else(|| sandbox.labels.get(POD_UID).cloned())
}

/// What the lists show of one pod.
#[derive(Debug, Default)]
struct Part {
    namespace: String,
    name: String,
    /// Ids with their states.
    states: Vec<(String, i32)>,
    from_manifest: bool,
    hashes: BTreeMap<String, String>,
}

/// By UID.
#[derive(Debug, Default)]
struct Parts(HashMap<String, Part>);

impl Parts {
    fn sandbox(&mut self, s: &v1::PodSandbox) {
        let Some(meta) = &s.metadata else { return };
        let part = self.0.entry(meta.uid.clone()).or_default();
        part.namespace.clone_from(&meta.namespace);
        part.name.clone_from(&meta.name);
        part.states.push((s.id.clone(), s.state));
        let source = s.annotations.get(CONFIG_SOURCE).map(String::as_str);
        part.from_manifest |= source.is_some_and(|source| source != "api");
    }

    fn container(&mut self, c: &v1::Container) {
        let Some(uid) = c.labels.get(POD_UID) else { return };
        let part = self.0.entry(uid.clone()).or_default();
        let label = |key: &str| c.labels.get(key).cloned().unwrap_or_default();
        if part.name.is_empty() {
            part.namespace = label("io.kubernetes.pod.namespace");
            part.name = label("io.kubernetes.pod.name");
        }
        part.states.push((c.id.clone(), c.state));
        if let Some(hash) = c.annotations.get(HASH).filter(|_| c.state == RUNNING) {
            part.hashes.insert(label(NAME_LABEL), hash.clone());
        }
    }

    fn found(self) -> HashMap<String, Found> {
        let known = self.0.into_iter().filter(|(uid, _)| !uid.is_empty());
        known
            .map(|(uid, mut part)| {
                part.states.sort_unstable();
                let mut hasher = DefaultHasher::new();
                part.states.hash(&mut hasher);
                let manifest = part.from_manifest.then_some(part.hashes);
                let Part { namespace, name, .. } = part;
                (uid, Found { namespace, name, digest: hasher.finish(), manifest })
            })
            .collect()
    }
}
