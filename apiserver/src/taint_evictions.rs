//! Takes pods off nodes with taints `NoExecute` that they do not tolerate, or not for so long (as upstream's taint eviction controller).
//!
//! Which nodes have such taints is kept by the version of their objects, so that a cluster without one costs a look at versions for each
//! change of a pod. How long a pod may stay is counted from when this server saw it on the tainted node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Taint, Toleration};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::api::{Api, in_form_of, prefix};
use crate::authenticate::User;
use crate::cache::Object;
use crate::controller::{self, Again};
use crate::evictions;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::text;
use crate::kinds::values::string;
use crate::node_lifecycle::pods_on;
use crate::request::options::DeleteOptions;
use crate::status::ApiError;
use crate::store::WriteError;
use crate::told::{Told, tell};
use crate::verbs::delete::delete_one;
use crate::verbs::update::store;

const BY: &str = "taint-eviction-controller";
/// Pods that are deleted at once.
const CONCURRENT: usize = 32;
/// After a pass there is a pause of this many times what it took.
const PAUSES: u32 = 4;

/// How long a pod may stay on a node with these taints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    Always,
    For(Duration),
    No,
}

#[derive(Debug, Default)]
struct State {
    /// The taints `NoExecute` of nodes, with the version that they are of.
    nodes: HashMap<Arc<str>, (u64, Vec<Taint>)>,
    /// Since when pods are on nodes that they have to leave, by UID.
    waiting: HashMap<String, Instant>,
}

/// Evicts until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    let state = Mutex::new(State::default());
    controller::run(&api, "taints that evict", &[&NODES, &PODS], async || {
        let began = Instant::now();
        let again = pass(&api, &mut *state.lock().await).await;
        sleep(began.elapsed() * PAUSES).await;
        again
    })
    .await;
}

async fn pass(api: &Api, state: &mut State) -> Result<Again, ApiError> {
    let nodes = api.cache.list_cached(&prefix(&NODES, ""));
    state.take_in(&nodes);
    let tainted: HashMap<&str, &[Taint]> = state
        .nodes
        .iter()
        .filter(|(_, (_, taints))| !taints.is_empty())
        .map(|(key, (_, taints))| (key.rsplit('/').next().unwrap_or_default(), taints.as_slice()))
        .collect();
    if tainted.is_empty() {
        state.waiting.clear();
        return Ok(Again::OnChange);
    }
    let now = Instant::now();
    let mut again = Again::OnChange;
    let mut due = Vec::new();
    let mut seen = HashSet::new();
    for object in pods_on(api, |node| tainted.contains_key(node)) {
        let pod = object.value();
        let Some(taints) = tainted.get(text(&pod, "/spec/nodeName")) else { continue };
        if !text(&pod, "/metadata/deletionTimestamp").is_empty() {
            continue;
        }
        let uid = text(&pod, "/metadata/uid").to_owned();
        match stay(taints, &tolerations(&pod)) {
            Stay::Always => {}
            Stay::No => due.push(object),
            Stay::For(period) => {
                let since = *state.waiting.entry(uid.clone()).or_insert(now);
                let left = period.saturating_sub(now.duration_since(since));
                if left.is_zero() {
                    due.push(object);
                } else {
                    again = again.and(Again::After(left));
                }
                seen.insert(uid);
            }
        }
    }
    state.waiting.retain(|uid, _| seen.contains(uid));
    stream::iter(due.iter().map(Ok)).try_for_each_concurrent(CONCURRENT, |object| evict(api, object)).await?;
    Ok(again)
}

impl State {
    /// Reads the nodes that have changed.
    fn take_in(&mut self, nodes: &[Arc<Object>]) {
        let there: HashSet<&str> = nodes.iter().map(|node| &**node.key()).collect();
        self.nodes.retain(|key, _| there.contains(&**key));
        for node in nodes {
            if self.nodes.get(node.key()).is_none_or(|(revision, _)| *revision != node.revision()) {
                let taints = no_execute(&node.value());
                self.nodes.insert(node.key().clone(), (node.revision(), taints));
            }
        }
    }
}

fn no_execute(node: &Value) -> Vec<Taint> {
    let taints = node.pointer("/spec/taints").and_then(Value::as_array).into_iter().flatten();
    let executed = taints.filter(|taint| string(taint, "effect") == "NoExecute");
    // The schema check has passed it.
    executed.filter_map(|taint| serde_json::from_value(taint.clone()).ok()).collect()
}

fn tolerations(pod: &Value) -> Vec<Toleration> {
    let list = pod.pointer("/spec/tolerations").cloned().unwrap_or_default();
    serde_json::from_value(list).unwrap_or_default()
}

/// Of the tolerations that apply the shortest counts; a taint that none applies to is not tolerated at all.
fn stay(taints: &[Taint], tolerations: &[Toleration]) -> Stay {
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let applies = |t: &&Toleration| podspec::tolerated(std::slice::from_ref(*t), taint);
        let Some(toleration) = tolerations.iter().find(applies) else { return Stay::No };
        if let Some(seconds) = toleration.toleration_seconds {
            shortest = Some(shortest.map_or(seconds, |s| s.min(seconds)));
        }
    }
    match shortest {
        None => Stay::Always,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Stay::For(Duration::from_secs(seconds)),
            _ => Stay::No,
        },
    }
}

/// Says in the pod why it ends, and ends it, with the time that it has for that.
async fn evict(api: &Api, object: &Object) -> Result<(), ApiError> {
    let mut pod = in_form_of(&PODS, object);
    let (namespace, name) =
        (text(&pod, "/metadata/namespace").to_owned(), text(&pod, "/metadata/name").to_owned());
    let uid = text(&pod, "/metadata/uid").to_owned();
    tracing::info!(namespace, name, "taking a pod off a tainted node");
    let message = format!("Marking for deletion Pod {namespace}/{name}");
    let told = Told { by: BY, warning: false, reason: "TaintManagerEviction", message: &message };
    tell(api, &PODS, &pod, told).await;
    evictions::mark(&mut pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
    match store(api, &PODS, object, pod).await {
        Ok(_) => {}
        // Changed meanwhile: that is looked at again.
        Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(ApiError::of_write(error, &PODS, &name)),
    }
    let options = DeleteOptions { uid: Some(uid), ..DeleteOptions::default() };
    match delete_one(api, &User::server(), &PODS, &namespace, &name, &options).await {
        Err(refusal) if !matches!(refusal.code, 404 | 409) => Err(refusal),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
