//! `metrics.k8s.io`: what nodes and pods use, asked of the nodes when somebody asks here (behaviour.md 44.1).
//!
//! Processor time is a counter, so that a rate needs two readings of a node. The readings of earlier questions serve; where there are
//! none that are young enough, the node is asked twice, [`GAP`] apart. Between questions nothing is asked.

mod page;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use self::page::{Page, Reading};
use crate::answer::{Answer, Content};
use crate::api::{Api, Call, prefix, timestamp};
use crate::backend;
use crate::connect::location::kubelet_of;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::{Kind, text};
use crate::request::Verb;
use crate::request::options::ListOptions;
use crate::status::ApiError;
use crate::verbs::read::{check_selectors, matches};

/// Readings of a node are answered again for so long.
const FRESH: Duration = Duration::from_secs(5);
/// Between two readings for one answer: a node answers with what is up to a second old.
const GAP: Duration = Duration::from_millis(1500);
/// A rate over more than this says nothing about now.
const LONGEST_WINDOW_SECONDS: f64 = 120.0;
/// Nodes that are asked at once, how long one may take, and how long its answer may be.
const FAN_OUT: usize = 16;
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
const PAGE_LIMIT_BYTES: usize = 16 << 20;
/// Nodes whose readings are kept.
const NODES_LIMIT: usize = 5000;

/// The readings of earlier questions, by node.
#[derive(Debug, Default)]
pub(crate) struct Measured(Mutex<HashMap<String, Arc<Mutex<Readings>>>>);

#[derive(Debug, Default)]
struct Readings {
    newest: Option<(Instant, Arc<Page>)>,
    before: Option<Arc<Page>>,
}

/// Two readings of one node.
#[derive(Debug, Clone)]
struct Pair {
    before: Arc<Page>,
    now: Arc<Page>,
}

/// What one thing used over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Used {
    nano_cores: u64,
    bytes: u64,
    at: Timestamp,
    window_seconds: f64,
}

/// get and list of both kinds.
pub(crate) async fn read(api: &Api, call: &Call, verb: Verb) -> Result<Answer, ApiError> {
    match verb {
        Verb::Get if call.kind.namespaced() => one_pod(api, call).await,
        Verb::Get => one_node(api, call).await,
        Verb::List => list(api, call).await,
        _ => Err(ApiError::method_not_supported(&call.path.group, &call.path.resource, verb.as_str())),
    }
}

async fn one_node(api: &Api, call: &Call) -> Result<Answer, ApiError> {
    let node = api.cache.get(&crate::api::key(&NODES, "", call.name())).await?;
    let found = match node {
        Some(node) => {
            pair(api, call.name()).await.and_then(|pair| node_metrics(call.kind, &node.value(), &pair))
        }
        None => None,
    };
    let object = found.ok_or_else(|| ApiError::not_found(call.kind, call.name()))?;
    Ok(Answer::new(200, Content::Object(object)))
}

async fn one_pod(api: &Api, call: &Call) -> Result<Answer, ApiError> {
    let pod = api.cache.get(&crate::api::key(&PODS, call.namespace(), call.name())).await?;
    let pod = pod.map(|pod| pod.value());
    let found = match &pod {
        Some(pod) if runs(pod) => {
            let pair = pair(api, text(pod, "/spec/nodeName")).await;
            pair.and_then(|pair| pod_metrics(call.kind, pod, &containers_of(&pair)))
        }
        _ => None,
    };
    let object = found.ok_or_else(|| ApiError::not_found(call.kind, call.name()))?;
    Ok(Answer::new(200, Content::Object(object)))
}

/// Those of which something is known; others are left out, as metrics-server does.
async fn list(api: &Api, call: &Call) -> Result<Answer, ApiError> {
    let options = ListOptions::parse(&call.query, false)?;
    check_selectors(call.kind, &options)?;
    let stored = if call.kind.namespaced() { &PODS } else { &NODES };
    let objects: Vec<Arc<Value>> = api
        .cache
        .list_cached(&prefix(stored, call.namespace()))
        .iter()
        .map(|object| object.value())
        .filter(|object| matches(call.kind, &options, object))
        .filter(|object| !call.kind.namespaced() || runs(object))
        .collect();
    let node_of = |object: &Value| {
        let place = if call.kind.namespaced() { "/spec/nodeName" } else { "/metadata/name" };
        text(object, place).to_owned()
    };
    let mut nodes: Vec<String> = objects.iter().map(|object| node_of(object)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let pairs: HashMap<String, Pair> = stream::iter(nodes)
        .map(|node| async move { Some((node.clone(), pair(api, &node).await?)) })
        .buffer_unordered(FAN_OUT)
        .filter_map(|found| async { found })
        .collect()
        .await;
    let containers: HashMap<&str, Containers> = if call.kind.namespaced() {
        pairs.iter().map(|(node, pair)| (node.as_str(), containers_of(pair))).collect()
    } else {
        HashMap::new()
    };
    let items = objects.iter().filter_map(|object| {
        let node = node_of(object);
        if call.kind.namespaced() {
            pod_metrics(call.kind, object, containers.get(node.as_str())?)
        } else {
            node_metrics(call.kind, object, pairs.get(&node)?)
        }
    });
    Ok(Answer::new(
        200,
        Content::Plain(json!({
            "kind": format!("{}List", call.kind.body.kind),
            "apiVersion": call.kind.api_version(),
            "metadata": {},
            "items": items.collect::<Vec<_>>(),
        })),
    ))
}

fn runs(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Running" && !text(pod, "/spec/nodeName").is_empty()
}

/// Two readings of a node; none where it does not answer.
async fn pair(api: &Api, node: &str) -> Option<Pair> {
    let readings = {
        let mut all = api.measured.0.lock().await;
        if all.len() >= NODES_LIMIT && !all.contains_key(node) {
            // Those of nodes that are gone are among them, and nobody is worse off than after a start.
            all.clear();
        }
        Arc::clone(all.entry(node.to_owned()).or_default())
    };
    let mut readings = readings.lock().await;
    if let (Some((at, now)), Some(before)) = (&readings.newest, &readings.before)
        && at.elapsed() <= FRESH
    {
        return Some(Pair { before: Arc::clone(before), now: Arc::clone(now) });
    }
    let mut before = readings.newest.take().map(|(_, page)| page);
    let mut now = scrape(api, node).await?;
    if before.as_ref().is_none_or(|before| used(&before.node, &now.node).is_none()) {
        sleep(GAP).await;
        before = Some(now);
        now = scrape(api, node).await?;
    }
    readings.newest = Some((Instant::now(), Arc::clone(&now)));
    readings.before = before.clone();
    Some(Pair { before: before?, now })
}

/// One reading; none where the node does not answer, which is told in the log.
async fn scrape(api: &Api, node: &str) -> Option<Arc<Page>> {
    match timeout(NODE_TIMEOUT, ask(api, node)).await {
        Ok(Ok(page)) => Some(Arc::new(page)),
        Ok(Err(why)) => {
            tracing::info!(node, why, "a node does not tell what is used");
            None
        }
        Err(_) => {
            tracing::info!(node, "a node has not told within {NODE_TIMEOUT:?} what is used");
            None
        }
    }
}

async fn ask(api: &Api, node: &str) -> Result<Page, String> {
    let address = kubelet_of(api, node).await.map_err(|e| e.to_string())?;
    let request = Request::get("/metrics/resource").header(HOST, address.authority());
    let request = request.body(backend::empty()).map_err(|e| e.to_string())?;
    let answer = api.backends.exchange(&address, request, Some(NODE_TIMEOUT)).await;
    let answer = answer.map_err(|e| e.to_string())?;
    if answer.status() != 200 {
        return Err(format!("/metrics/resource: status {}", answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), PAGE_LIMIT_BYTES).collect().await;
    let body = body.map_err(|e| format!("/metrics/resource: {e}"))?.to_bytes();
    Ok(page::read(&String::from_utf8_lossy(&body)))
}

/// A rate over two readings; none where they are of one time, of two runs, or too far apart.
fn used(before: &Reading, now: &Reading) -> Option<Used> {
    let ((seconds_before, at_before), (seconds, at)) = (before.cpu?, now.cpu?);
    let window = at.duration_since(at_before).as_secs_f64();
    let is_other_run = before.started != now.started || seconds < seconds_before;
    if window <= 0.0 || window > LONGEST_WINDOW_SECONDS || is_other_run {
        return None;
    }
    let nano_cores = ((seconds - seconds_before) / window * 1e9).round() as u64;
    Some(Used { nano_cores, bytes: now.memory?, at, window_seconds: window })
}

/// Of a container that has started since the reading before: from its start on, when nothing was used.
fn used_since_start(now: &Reading) -> Option<Used> {
    let started = now.started?;
    let at = Timestamp::from_microsecond((started * 1e6) as i64).ok()?;
    used(&Reading { cpu: Some((0.0, at)), ..*now }, now)
}

/// What the containers of a node use, by namespace and pod.
type Containers = BTreeMap<(String, String), Vec<(String, Used)>>;

fn containers_of(pair: &Pair) -> Containers {
    let mut all = Containers::new();
    for (name, now) in &pair.now.containers {
        let before = pair.before.containers.get(name);
        let used = before.and_then(|before| used(before, now)).or_else(|| used_since_start(now));
        let Some(used) = used else { continue };
        let (namespace, pod, container) = name;
        all.entry((namespace.clone(), pod.clone())).or_default().push((container.clone(), used));
    }
    all
}

fn node_metrics(kind: &Kind, node: &Value, pair: &Pair) -> Option<Value> {
    let used = used(&pair.before.node, &pair.now.node)?;
    let mut metrics = measured(kind, node, used);
    metrics["usage"] = quantities(used);
    Some(metrics)
}

fn pod_metrics(kind: &Kind, pod: &Value, containers: &Containers) -> Option<Value> {
    let name = (text(pod, "/metadata/namespace").to_owned(), text(pod, "/metadata/name").to_owned());
    let containers = containers.get(&name)?;
    // The oldest of them says how new all are.
    let oldest = containers.iter().map(|(_, used)| *used).min_by_key(|used| used.at)?;
    let mut metrics = measured(kind, pod, oldest);
    let container = |(name, used): &(String, Used)| json!({ "name": name, "usage": quantities(*used) });
    metrics["containers"] = containers.iter().map(container).collect();
    Some(metrics)
}

fn measured(kind: &Kind, of: &Value, used: Used) -> Value {
    let mut metadata = json!({
        "name": text(of, "/metadata/name"),
        "creationTimestamp": timestamp(Timestamp::now()),
    });
    if kind.namespaced() {
        metadata["namespace"] = text(of, "/metadata/namespace").into();
    }
    if let Some(labels) = of.pointer("/metadata/labels") {
        metadata["labels"] = labels.clone();
    }
    json!({
        "kind": kind.body.kind,
        "apiVersion": kind.api_version(),
        "metadata": metadata,
        "timestamp": timestamp(used.at),
        "window": window(used.window_seconds),
    })
}

/// As metrics-server writes them.
fn quantities(used: Used) -> Value {
    json!({ "cpu": format!("{}n", used.nano_cores), "memory": format!("{}Ki", used.bytes / 1024) })
}

/// A duration in Go's form, to the millisecond.
fn window(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let mut rest = format!("{}.{:03}", millis / 1000, millis % 1000);
    rest.truncate(rest.trim_end_matches('0').trim_end_matches('.').len());
    if minutes > 0 { format!("{minutes}m{rest}s") } else { format!("{rest}s") }
}

#[cfg(test)]
mod tests;
