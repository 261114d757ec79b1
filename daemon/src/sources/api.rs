//! The pods that the API server has bound to this node.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::Api;
use tokio::sync::{mpsc, watch};

use super::mirror::Mirrors;
use super::watcher::{Change, Watcher};
use super::{Source, Update, is_mirror, stamp};

/// Follows the pods of `node_name` until `stop`, or until nobody takes updates any more.
pub async fn run(
    client: kube::Client,
    node_name: &str,
    updates: mpsc::Sender<Update>,
    mirrors: Mirrors,
    mut stop: watch::Receiver<bool>,
) {
    let mut watcher = Watcher::new(Api::<Pod>::all(client), format!("spec.nodeName={node_name}"), "pods");
    loop {
        let change = tokio::select! {
            // Cancel-safe: a level.
            _ = stop.wait_for(|stop| *stop) => return,
            // Cancel-safe: as the watcher says.
            change = watcher.next() => change,
        };
        let Some(update) = sort_out(change, &mirrors) else { continue };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            // An update that is not taken is lost only together with the daemon.
            sent = updates.send(update) => if sent.is_err() { return },
        }
    }
}

/// Mirror pods go to `mirrors`, everything else becomes an update.
fn sort_out(change: Change<Pod>, mirrors: &Mirrors) -> Option<Update> {
    let source = Source::Api;
    match change {
        Change::Listed(pods) => {
            let (images, pods): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(is_mirror);
            mirrors.listed(&images);
            Some(Update::Listed { source, pods: pods.into_iter().map(stamped).collect() })
        }
        Change::Applied(pod) if is_mirror(&pod) => {
            mirrors.applied(&pod);
            None
        }
        Change::Deleted(pod) if is_mirror(&pod) => {
            mirrors.deleted(&pod);
            None
        }
        Change::Applied(pod) => Some(Update::Applied { source, pod: stamped(pod) }),
        Change::Deleted(pod) => {
            // This daemon removes a pod's object after the pod has ended; when somebody else does it before, it was forced, with no grace.
            let metadata = pod.metadata;
            Some(Update::Removed {
                source,
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
                uid: metadata.uid.unwrap_or_default(),
                grace: Some(Duration::ZERO),
            })
        }
    }
}

fn stamped(mut pod: Pod) -> Arc<Pod> {
    stamp(&mut pod, Source::Api);
    if let Some(status) = &mut pod.status {
        shrink(status);
    }
    Arc::new(pod)
}

/// The object is held for as long as it is the newest; a list that was read has room for four, and a container's status is large.
fn shrink(status: &mut PodStatus) {
    let lists = [
        &mut status.init_container_statuses,
        &mut status.container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    lists.into_iter().flatten().for_each(Vec::shrink_to_fit);
    if let Some(conditions) = &mut status.conditions {
        conditions.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests;
