//! Notices nodes that fall silent, and keeps taints in step with what nodes say of themselves (as upstream's node lifecycle
//! controller). What a taint means for pods is [`crate::taint_evictions`]'s.
//!
//! ```text
//! node status, lease ──no sign of life for the grace period──> conditions Unknown, its pods not ready
//! conditions ──> taints NoSchedule, at once
//! Ready ──> taint NoExecute, one node of a zone at a time (zones)
//! ```
//!
//! [`health`] is what conditions say, [`taints`] what taints follow, [`zones`] how fast nodes are given up (all pure).
//! Only the time since a sign of life is kept, by this server's own clock: after a start every node has its whole period again.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{TryStreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::api::{Api, in_form_of, key, prefix};
use crate::authorize::nodes::LEASE_NAMESPACE;
use crate::cache::Object;
use crate::controller::{self, Again};
use crate::flags::Nodes as Settings;
use crate::kinds::leases::LEASES;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::text;
use crate::status::ApiError;
use crate::store::WriteError;
use crate::told::{Told, tell};
use crate::verbs::update::store;

mod health;
mod taints;
mod zones;

use health::Summary;
use zones::{Standing, Zones};

const BY: &str = "node-controller";
/// Pods of a silent node that are marked at once.
const CONCURRENT: usize = 32;
/// After a pass there is a pause of this many times what it took.
const PAUSES: u32 = 4;

/// What is known of one node.
#[derive(Debug)]
struct Known {
    /// The version of the object that `summary` is of.
    revision: u64,
    summary: Summary,
    lease_revision: u64,
    /// What changes with each sign of life.
    sign: (String, String),
    since: Instant,
    /// Whether its pods are still to be marked.
    pods_due: bool,
}

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<String, Known>,
    zones: Zones,
}

/// Looks after nodes until the server stops.
pub(crate) async fn run(api: Arc<Api>, settings: Settings) {
    let state = Mutex::new(State::default());
    controller::run(&api, "nodes", &[&NODES], async || {
        let began = Instant::now();
        let done = pass(&api, &settings, &mut *state.lock().await).await;
        sleep(began.elapsed() * PAUSES).await;
        done.map(|()| Again::After(settings.period))
    })
    .await;
}

async fn pass(api: &Api, settings: &Settings, state: &mut State) -> Result<(), ApiError> {
    let objects = api.cache.list_cached(&prefix(&NODES, ""));
    let now = Instant::now();
    let named = |object: &Object| object.key().rsplit('/').next().unwrap_or_default().to_owned();
    let mut present = Vec::with_capacity(objects.len());
    for object in objects {
        let name = named(&object);
        observe(api, &name, &object, state, now);
        present.push((name, object));
    }
    state.nodes.retain(|known, _| api.cache.get_cached(&key(&NODES, "", known)).is_some());
    let standings: Vec<(&str, Standing<'_>)> =
        state.nodes.iter().map(|(name, known)| (name.as_str(), known.summary.standing())).collect();
    let given_up = state.zones.given_up(&standings, now);
    if given_up.begins_again {
        state.nodes.values_mut().for_each(|known| known.since = now);
    }
    for (name, object) in present {
        let Some(known) = state.nodes.get_mut(&name) else { continue };
        let grace = if known.summary.has_spoken() { settings.grace } else { settings.startup_grace };
        let silent = now.duration_since(known.since) > grace;
        let evicting = given_up.of(&name);
        look_after(api, &object, known, silent, evicting).await?;
        if known.pods_due {
            mark_pods(api, &name).await?;
            known.pods_due = false;
        }
    }
    Ok(())
}

/// Takes in what a node says now.
fn observe(api: &Api, name: &str, object: &Object, state: &mut State, now: Instant) {
    let lease = api.cache.get_cached(&key(&LEASES, LEASE_NAMESPACE, name));
    let lease_revision = lease.as_ref().map_or(0, |lease| lease.revision());
    let renewed = || lease.as_ref().map_or(String::new(), |l| text(&l.value(), "/spec/renewTime").to_owned());
    let Some(known) = state.nodes.get_mut(name) else {
        let summary = Summary::of(&object.value());
        let sign = (summary.heartbeat.clone(), renewed());
        let revision = object.revision();
        let known = Known { revision, summary, lease_revision, sign, since: now, pods_due: false };
        state.nodes.insert(name.to_owned(), known);
        return;
    };
    if known.revision != object.revision() {
        known.revision = object.revision();
        known.summary = Summary::of(&object.value());
    }
    if known.lease_revision != lease_revision {
        known.lease_revision = lease_revision;
        known.sign.1 = sign_of(&mut known.since, &known.sign.1, renewed(), now);
    }
    let heartbeat = known.summary.heartbeat.clone();
    known.sign.0 = sign_of(&mut known.since, &known.sign.0, heartbeat, now);
}

/// A sign that is not the one before is one of life.
fn sign_of(since: &mut Instant, before: &str, sign: String, now: Instant) -> String {
    if sign != before {
        *since = now;
    }
    sign
}

/// Writes what a node is to say, if it does not say it already.
async fn look_after(
    api: &Api,
    object: &Object,
    known: &mut Known,
    silent: bool,
    evicting: zones::Evicting,
) -> Result<(), ApiError> {
    if !silent && known.summary.is_settled(evicting) {
        return Ok(());
    }
    let mut node = in_form_of(&NODES, object);
    let now = Timestamp::now();
    let was_ready = health::ready(&node) == "True";
    let silenced = silent && health::silence(&mut node, now);
    let changed = taints::follow(&mut node, evicting, now) || silenced;
    if !changed {
        return Ok(());
    }
    match store(api, &NODES, object, node.clone()).await {
        Ok(_) => {}
        // Somebody else was quicker, which is a change.
        Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => return Ok(()),
        Err(error) => {
            return Err(ApiError::of_write(error, &NODES, text(&node, "/metadata/name")));
        }
    }
    if silenced && was_ready {
        known.pods_due = true;
        let name = text(&node, "/metadata/name");
        tracing::warn!(node = name, "silent for too long: not ready");
        let message = format!("Node {name} status is now: NodeNotReady");
        tell(api, &NODES, &node, Told { by: BY, warning: false, reason: "NodeNotReady", message: &message })
            .await;
    }
    Ok(())
}

/// The pods that a node has, as far as their bytes tell; `wanted` says of which nodes.
pub(crate) fn pods_on(api: &Api, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Object>> {
    let mut pods = api.cache.list_cached(&prefix(&PODS, ""));
    pods.retain(|pod| node_of(pod.stored_json()).is_some_and(&wanted));
    pods
}

/// The node in the stored bytes of a pod.
pub(crate) fn node_of(json: &[u8]) -> Option<&str> {
    const FIELD: &[u8] = b"\"nodeName\":\"";
    let start = memchr::memmem::find(json, FIELD)? + FIELD.len();
    let end = memchr::memchr(b'"', &json[start..])? + start;
    std::str::from_utf8(&json[start..end]).ok()
}

/// The pods of a silent node are not ready: nobody knows whether they are.
async fn mark_pods(api: &Api, node: &str) -> Result<(), ApiError> {
    let pods = pods_on(api, |of| of == node);
    stream::iter(pods.iter().map(Ok))
        .try_for_each_concurrent(CONCURRENT, |object| async move {
            let mut pod = in_form_of(&PODS, object);
            if text(&pod, "/spec/nodeName") != node || !health::set_not_ready(&mut pod, Timestamp::now()) {
                return Ok(());
            }
            match store(api, &PODS, object, pod.clone()).await {
                Ok(_) => {
                    let message = "Node is not ready";
                    let told = Told { by: BY, warning: true, reason: "NodeNotReady", message };
                    tell(api, &PODS, &pod, told).await;
                    Ok(())
                }
                Err(WriteError::NotFound { .. }) => Ok(()),
                Err(error) => Err(ApiError::of_write(error, &PODS, text(&pod, "/metadata/name"))),
            }
        })
        .await
}
