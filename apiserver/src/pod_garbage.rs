//! Removes pods that nobody looks after any more (as upstream's pod garbage collector): those of nodes that are gone, those that were
//! deleted before they had a node, and the oldest of those that have ended if there are too many.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{TryStreamExt as _, stream};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api::{Api, in_form_of, key, prefix};
use crate::authenticate::User;
use crate::cache::Object;
use crate::evictions;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::text;
use crate::kinds::values::{child, items, string};
use crate::node_lifecycle::node_of;
use crate::request::options::DeleteOptions;
use crate::status::ApiError;
use crate::store::WriteError;
use crate::verbs::delete::delete_one;
use crate::verbs::update::store;

const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How long a node has to be gone.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Pods that are deleted at once.
const CONCURRENT: usize = 32;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Why a pod goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// There are too many that have ended.
    TooMany,
    /// Its node is gone.
    NoNode,
    /// It was deleted before it had a node.
    NeverBegun,
    /// It was deleted, and its node is not ready and said to be out of service.
    OutOfService,
}

/// What is looked at of a pod. Its bytes are enough for most.
#[derive(Debug, PartialEq, Eq)]
struct Seen<'a> {
    node: Option<&'a str>,
    deleting: bool,
    /// When it was created, if it has ended.
    ended: Option<String>,
}

/// What is known of nodes.
#[derive(Debug, Default)]
struct Nodes {
    there: HashSet<String>,
    out_of_service: HashSet<String>,
    /// Since when nodes that pods name are not there.
    missing: HashMap<String, Instant>,
}

/// Removes such pods until the server stops.
pub(crate) async fn run(api: Arc<Api>, most_ended: usize) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut nodes = Nodes::default();
    loop {
        tokio::select! {
            // Both are cancel-safe.
            biased;
            () = api.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = pass(&api, &mut nodes, most_ended).await {
            tracing::warn!(%error, "removing pods that nobody looks after");
        }
    }
}

async fn pass(api: &Api, nodes: &mut Nodes, most_ended: usize) -> Result<(), ApiError> {
    let all = api.cache.list_cached(&prefix(&NODES, ""));
    nodes.there = all.iter().filter_map(|node| node.key().rsplit('/').next()).map(str::to_owned).collect();
    let out = all.iter().filter(|node| has(node, OUT_OF_SERVICE)).map(|node| node.value());
    nodes.out_of_service =
        out.filter(|node| is_out_of_service(node)).map(|n| text(&n, "/metadata/name").to_owned()).collect();
    let pods = api.cache.list_cached(&prefix(&PODS, ""));
    let seen: Vec<Seen<'_>> = pods.iter().map(|pod| look(pod)).collect();
    let doomed = plan(&seen, nodes, most_ended, Instant::now());
    stream::iter(doomed.into_iter().map(Ok))
        .try_for_each_concurrent(CONCURRENT, |(index, why)| remove(api, &pods[index], why))
        .await
}

fn has(object: &Object, words: &str) -> bool {
    memchr::memmem::find(object.stored_json(), words.as_bytes()).is_some()
}

fn is_out_of_service(node: &Value) -> bool {
    let taints = items(node.get("spec").unwrap_or(&Value::Null), "taints");
    let conditions = items(node.get("status").unwrap_or(&Value::Null), "conditions");
    let ready = conditions.iter().any(|c| string(c, "type") == "Ready" && string(c, "status") == "True");
    !ready && taints.iter().any(|taint| string(taint, "key") == OUT_OF_SERVICE)
}

fn look(pod: &Object) -> Seen<'_> {
    let may_have_ended =
        ["\"phase\":\"Succeeded\"", "\"phase\":\"Failed\""].iter().any(|phase| has(pod, phase));
    let ended = may_have_ended.then(|| pod.value()).filter(|pod| has_ended(pod));
    Seen {
        node: node_of(pod.stored_json()),
        deleting: has(pod, "\"deletionTimestamp\""),
        ended: ended.map(|pod| text(&pod, "/metadata/creationTimestamp").to_owned()),
    }
}

fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// The pods that are to go, by their places in the list.
fn plan(pods: &[Seen<'_>], nodes: &mut Nodes, most_ended: usize, now: Instant) -> Vec<(usize, Why)> {
    let mut doomed = Vec::new();
    let mut named: HashSet<&str> = HashSet::new();
    for (index, pod) in pods.iter().enumerate() {
        match pod.node {
            None if pod.deleting => doomed.push((index, Why::NeverBegun)),
            None => {}
            Some(node) if nodes.out_of_service.contains(node) && pod.deleting => {
                doomed.push((index, Why::OutOfService));
            }
            Some(node) if nodes.there.contains(node) => {}
            Some(node) => {
                named.insert(node);
                let since = *nodes.missing.entry(node.to_owned()).or_insert(now);
                if now.duration_since(since) >= QUARANTINE {
                    doomed.push((index, Why::NoNode));
                }
            }
        }
    }
    nodes.missing.retain(|node, _| named.contains(node.as_str()));
    let mut ended: Vec<(&str, usize)> =
        pods.iter().enumerate().filter_map(|(index, pod)| Some((pod.ended.as_deref()?, index))).collect();
    if most_ended > 0 && ended.len() > most_ended {
        ended.sort_unstable();
        let known: HashSet<usize> = doomed.iter().map(|(index, _)| *index).collect();
        let oldest = ended.iter().take(ended.len() - most_ended).map(|(_, index)| *index);
        doomed.extend(oldest.filter(|index| !known.contains(index)).map(|index| (index, Why::TooMany)));
    }
    doomed
}

async fn remove(api: &Api, object: &Object, why: Why) -> Result<(), ApiError> {
    let pod = object.value();
    let (namespace, name) = (text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
    let node = text(&pod, "/spec/nodeName");
    let still = match why {
        Why::NoNode => !node.is_empty() && api.cache.get_cached(&key(&NODES, "", node)).is_none(),
        Why::NeverBegun => node.is_empty() && !text(&pod, "/metadata/deletionTimestamp").is_empty(),
        Why::TooMany | Why::OutOfService => true,
    };
    if !still {
        return Ok(());
    }
    tracing::info!(namespace, name, ?why, "removing a pod");
    if why != Why::TooMany && !has_ended(&pod) {
        let mut failed = in_form_of(&PODS, object);
        child(&mut failed, "status").insert("phase".to_owned(), "Failed".into());
        if why == Why::NoNode {
            evictions::mark(&mut failed, "DeletionByPodGC", "PodGC: node no longer exists");
        }
        match store(api, &PODS, object, failed).await {
            Ok(_) => {}
            // Changed meanwhile: it is looked at again.
            Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(ApiError::of_write(error, &PODS, name)),
        }
    }
    let uid = Some(text(&pod, "/metadata/uid").to_owned());
    let options = DeleteOptions { grace_seconds: Some(0), uid, ..DeleteOptions::default() };
    match delete_one(api, &User::server(), &PODS, namespace, name, &options).await {
        Err(refusal) if !matches!(refusal.code, 404 | 409) => Err(refusal),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
