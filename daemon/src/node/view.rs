//! Follows the own node object, so that labels, taints, addresses and deletion are known without asking.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::api::Api;
use tokio::sync::watch;

use super::{NodeView, registration};
use crate::events::Recorder;
use crate::sources::watcher::{Change, Watcher};

/// The status that the API has, and the object's version with it.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenStatus {
    pub(super) version: u64,
    pub(super) status: NodeStatus,
    /// Labels that every node has, and that somebody has taken from this one (behaviour.md 32.2).
    pub(super) lacks: BTreeMap<String, String>,
}

impl SeenStatus {
    pub(super) fn of(node: Node) -> Self {
        let version = node.metadata.resource_version.and_then(|version| version.parse().ok()).unwrap_or(0);
        let labels = node.metadata.labels.unwrap_or_default();
        let lacks = registration::platform_labels().filter(|(name, value)| labels.get(name) != Some(value));
        Self { version, lacks: lacks.collect(), status: node.status.unwrap_or_default() }
    }
}

/// Shows the object in `view`, and its status in `seen`, until `stop`.
pub(super) async fn run(
    client: kube::Client,
    node_name: String,
    view: watch::Sender<Option<Arc<NodeView>>>,
    seen: watch::Sender<SeenStatus>,
    recorder: Recorder,
    mut stop: watch::Receiver<bool>,
) {
    let mut watcher =
        Watcher::new(Api::<Node>::all(client), format!("metadata.name={node_name}"), "the own node");
    loop {
        let change = tokio::select! {
            // Cancel-safe: a level.
            _ = stop.wait_for(|stop| *stop) => return,
            // Cancel-safe: as the watcher says.
            change = watcher.next() => change,
        };
        let node = match change {
            Change::Listed(nodes) => nodes.into_iter().next(),
            Change::Applied(node) => Some(node),
            Change::Deleted(_) => {
                tracing::warn!(
                    node = node_name,
                    "the node object was deleted; it is made again at the next start"
                );
                None
            }
        };
        let next = node.as_ref().map(slim);
        if let Some(node) = node {
            seen.send_replace(SeenStatus::of(node));
        }
        let turned = {
            // Not seen yet is as good as schedulable.
            let before = view.borrow().as_ref().is_some_and(|view| view.unschedulable);
            next.as_ref().map(|view| view.unschedulable).filter(|now| *now != before)
        };
        if let Some(unschedulable) = turned {
            let reason = if unschedulable { "NodeNotSchedulable" } else { "NodeSchedulable" };
            recorder.node_event(false, reason, format!("Node {node_name} status is now: {reason}"));
        }
        let next = next.map(Arc::new);
        view.send_if_modified(|view| {
            let differs = *view != next;
            if differs {
                *view = next;
            }
            differs
        });
    }
}

/// Heartbeats and images come and go without notice to others.
pub(super) fn slim(node: &Node) -> NodeView {
    let metadata = &node.metadata;
    let spec = node.spec.as_ref();
    let status = node.status.as_ref();
    NodeView {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
        unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
        pod_cidrs: spec.and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default(),
        addresses: status.and_then(|status| status.addresses.clone()).unwrap_or_default(),
        allocatable: status.and_then(|status| status.allocatable.clone()).unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
    }
}
