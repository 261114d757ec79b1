//! Events about pods and the node: recorded without waiting, correlated, and sent in the background.
//!
//! ```text
//! Recorder (any task) ──mpsc, bounded──> sender task: Correlator (pure) ──> Backlog (bounded) ──> API server, one call at a time
//! ```
//!
//! * Recording never waits and never fails. When the queue to the sender is full the new event is dropped and counted.
//! * Repeated events become a higher `count` of the first, already in the backlog; see [`correlate`].
//! * While the API server is away the backlog keeps the latest [`BACKLOG`] events; older ones are dropped and counted.
//! * Nothing survives a restart: events are for readers, no behaviour depends on them.
//! * Standing alone, without an API server, events go to the log only.

mod backlog;
mod correlate;
mod sender;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use tokio::sync::mpsc;

pub use sender::Rates;

/// Occurrences that may wait for the sender task, which only computes between two receptions.
const QUEUE: usize = 1_000;
/// Events that may wait for the API server.
pub(crate) const BACKLOG: usize = 1_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Occurrence {
    pub(crate) object: ObjectReference,
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) at: Timestamp,
    /// Of the event's object.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Records events; cheap to clone, never waits.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    lost: Arc<AtomicU64>,
    node_name: Arc<str>,
}

impl Recorder {
    /// A recorder for the node `node_name`, and the task that sends what it records: run it with [`Sender::run`].
    #[must_use]
    pub fn new(client: Option<kube::Client>, node_name: &str, rates: Rates) -> (Self, Sender) {
        let (queue, occurrences) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let recorder = Self { queue, lost: Arc::clone(&lost), node_name: node_name.into() };
        (recorder, Sender::new(client, node_name, rates, occurrences, lost))
    }

    /// An event about a pod, or about a part of it that `field_path` names (`spec.containers{web}`).
    pub fn pod_event(
        &self,
        pod: &Pod,
        field_path: Option<&str>,
        warning: bool,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        let about = ObjectReference { field_path: field_path.map(str::to_owned), ..pod_reference(pod) };
        self.record(about, warning, reason.into(), message.into());
    }

    /// An event about the pod that `about` names.
    pub fn event_about(
        &self,
        about: ObjectReference,
        warning: bool,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.record(about, warning, reason.into(), message.into());
    }

    /// A warning about the pod that `about` names, with annotations for programs.
    pub(crate) fn annotated(
        &self,
        about: ObjectReference,
        reason: impl Into<String>,
        message: impl Into<String>,
        annotations: BTreeMap<String, String>,
    ) {
        self.record_annotated(about, true, reason.into(), message.into(), annotations);
    }

    /// An event about this node. Its UID is the node's name, as a kubelet's is, so that `kubectl describe node` finds it.
    pub fn node_event(&self, warning: bool, reason: impl Into<String>, message: impl Into<String>) {
        self.record(
            ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(self.node_name.to_string()),
                uid: Some(self.node_name.to_string()),
                ..ObjectReference::default()
            },
            warning,
            reason.into(),
            message.into(),
        );
    }

    /// An event about this node that carries the object's real UID, where it is known.
    pub fn node_object_event(
        &self,
        node: &Node,
        warning: bool,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.record(
            ObjectReference {
                kind: Some("Node".to_owned()),
                name: node.metadata.name.clone(),
                uid: node.metadata.uid.clone(),
                ..ObjectReference::default()
            },
            warning,
            reason.into(),
            message.into(),
        );
    }

    fn record(&self, object: ObjectReference, warning: bool, reason: String, message: String) {
        self.record_annotated(object, warning, reason, message, BTreeMap::new());
    }

    fn record_annotated(
        &self,
        object: ObjectReference,
        warning: bool,
        reason: String,
        message: String,
        annotations: BTreeMap<String, String>,
    ) {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let is_pod = object.kind.as_deref() == Some("Pod");
        let pod = is_pod.then(|| format!("{}/{}", text(&object.namespace), text(&object.name)));
        let container = object.field_path.as_deref().and_then(|path| path.split_once('{'));
        tracing::info!(
            pod,
            uid = object.uid.as_deref().filter(|_| is_pod),
            container = container.map(|(_, name)| name.trim_end_matches('}')),
            node = object.name.as_deref().filter(|_| !is_pod),
            r#type = if warning { "Warning" } else { "Normal" },
            reason,
            "{message}"
        );
        let occurrence = Occurrence { object, warning, reason, message, at: Timestamp::now(), annotations };
        if self.queue.try_send(occurrence).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What events say of the pod that they are about.
pub(crate) fn pod_reference(pod: &Pod) -> ObjectReference {
    let metadata = &pod.metadata;
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path: None,
    }
}

pub use sender::Sender;

#[cfg(test)]
mod tests;
