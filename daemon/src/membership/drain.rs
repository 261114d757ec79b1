//! Getting the pods off a node: which of them are in the way, and their eviction, which disruption budgets may hold up.
//!
//! ```text
//! list of the node's pods ──plan (pure)──> evict those that may come elsewhere ──> list again ... until none is left, or the time is up
//! ```
//!
//! behaviour.md has no rows for it: it is what `kubectl drain --ignore-daemonsets --delete-emptydir-data` does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Tell;
use super::call::{CallError, call, get};

/// Between two looks at the pods.
const LOOK: Duration = Duration::from_millis(500);
/// Before a pod that a budget holds up is asked for again.
const HELD: Duration = Duration::from_secs(5);
/// Evictions under way at once.
const AT_ONCE: usize = 16;
/// Pods that are named in a message.
const NAMED: usize = 10;
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The pods stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DrainError {
    #[error("the API server is not reached: {0}")]
    Api(CallError),
    #[error("the node may not be drained with these credentials: {0}")]
    Forbidden(CallError),
    #[error("nobody would make these pods again: {}; --force evicts them all the same", some(pods))]
    Unmanaged { pods: Vec<String> },
    #[error("after {timeout:?} there are pods still: {}", some(pods))]
    Late { timeout: Duration, pods: Vec<String> },
}

fn some(pods: &[String]) -> String {
    let more = pods.len().saturating_sub(NAMED);
    let named = pods.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// A pod that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pod {
    namespace: String,
    name: String,
    uid: String,
    /// Its end has been asked for already.
    is_ending: bool,
    /// Somebody makes another one in its place, or it has ended.
    is_managed: bool,
}

impl Pod {
    fn label(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The pods of a list that are in the way. Static pods are the machine's own, and what a DaemonSet has made would come back at once.
pub(super) fn in_the_way(list: &Value) -> Vec<Pod> {
    let mut pods: Vec<Pod> =
        list.get("items").and_then(Value::as_array).into_iter().flatten().filter_map(pod).collect();
    pods.sort();
    pods
}

fn pod(object: &Value) -> Option<Pod> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let is_mirror = object.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR).is_some());
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    let is_daemon = controller.is_some_and(|owner| owner["kind"] == "DaemonSet");
    if is_mirror || is_daemon {
        return None;
    }
    let has_ended = matches!(text("/status/phase"), "Succeeded" | "Failed");
    Some(Pod {
        namespace: text("/metadata/namespace").to_owned(),
        name: text("/metadata/name").to_owned(),
        uid: text("/metadata/uid").to_owned(),
        is_ending: !text("/metadata/deletionTimestamp").is_empty(),
        is_managed: controller.is_some() || has_ended,
    })
}

/// Marks the node as one that gets no pods, and evicts those that it has. Says whether there is such a node.
///
/// # Errors
/// See [`DrainError`]. The node stays marked, unless pods that nobody would make again are why.
pub(super) async fn drain(
    api: &kube::Client,
    node: &str,
    timeout: Duration,
    force: bool,
    tell: Tell<'_>,
) -> Result<bool, DrainError> {
    let path = format!("/api/v1/nodes/{node}");
    match get(api, &path).await {
        Ok(_) => {}
        Err(CallError::Refused { code: 404, .. }) => return Ok(false),
        Err(error) => return Err(refused(error)),
    }
    let pods = list(api, node).await?;
    let unmanaged: Vec<String> =
        pods.iter().filter(|pod| !pod.is_managed && !pod.is_ending).map(Pod::label).collect();
    if !force && !unmanaged.is_empty() {
        return Err(DrainError::Unmanaged { pods: unmanaged });
    }
    tell(&format!("no pods come to {node} any more; {} have to go", pods.len()));
    let cordon = json!({ "spec": { "unschedulable": true } });
    call(api, Method::PATCH, &path, Some(&cordon)).await.map_err(refused)?;
    empty(api, node, timeout, tell).await?;
    Ok(true)
}

fn refused(error: CallError) -> DrainError {
    match error.code() {
        Some(401 | 403) => DrainError::Forbidden(error),
        _ => DrainError::Api(error),
    }
}

async fn list(api: &kube::Client, node: &str) -> Result<Vec<Pod>, DrainError> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    Ok(in_the_way(&get(api, &path).await.map_err(refused)?.body))
}

/// What was told of a pod, and when it is asked for again.
struct Asked {
    why: String,
    again: Instant,
}

/// Evicts until none is in the way. An API server that is away for a moment is asked again.
async fn empty(api: &kube::Client, node: &str, timeout: Duration, tell: Tell<'_>) -> Result<(), DrainError> {
    let end = Instant::now() + timeout;
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    let mut told: BTreeSet<String> = BTreeSet::new();
    loop {
        let now = Instant::now();
        let left = match list(api, node).await {
            Ok(left) if left.is_empty() => return Ok(()),
            Ok(left) => left,
            Err(DrainError::Api(_)) if now < end => {
                sleep(LOOK).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        if now >= end {
            let label = |pod: &Pod| match asked.get(&pod.uid) {
                Some(Asked { why, .. }) => format!("{} ({why})", pod.label()),
                None => pod.label(),
            };
            return Err(DrainError::Late { timeout, pods: left.iter().map(label).collect() });
        }
        let is_due = |pod: &Pod| !pod.is_ending && asked.get(&pod.uid).is_none_or(|asked| asked.again <= now);
        let due: Vec<Pod> = left.into_iter().filter(is_due).collect();
        let evictions = due.into_iter().map(|pod| async move {
            let answer = evict(api, &pod).await;
            (pod, answer)
        });
        // Collected first, as what is written below decides what is due.
        let answers: Vec<_> = futures::stream::iter(evictions).buffer_unordered(AT_ONCE).collect().await;
        for (pod, answer) in answers {
            let why = match answer {
                Ok(()) => "it is ending".to_owned(),
                // It has gone meanwhile, or is another one of the name by now.
                Err(CallError::Refused { code: 404 | 409, .. }) => continue,
                Err(CallError::Refused { code: 429, message }) => message,
                Err(error @ CallError::Refused { code: 401 | 403, .. }) => {
                    return Err(DrainError::Forbidden(error));
                }
                Err(error) => error.to_string(),
            };
            if told.insert(format!("{}{why}", pod.uid)) {
                tell(&format!("{}: {why}", pod.label()));
            }
            asked.insert(pod.uid.clone(), Asked { why, again: now + HELD });
        }
        sleep(LOOK).await;
    }
}

async fn evict(api: &kube::Client, pod: &Pod) -> Result<(), CallError> {
    let Pod { namespace, name, uid, .. } = pod;
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": name, "namespace": namespace },
        "deleteOptions": { "preconditions": { "uid": uid } },
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
    call(api, Method::POST, &path, Some(&eviction)).await.map(drop)
}

#[cfg(test)]
mod tests;
