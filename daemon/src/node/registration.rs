//! Makes the node object, or brings what a kubelet owns of an existing one up to date. behaviour.md 32.1 to 32.4.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::addresses::specified;
use super::writer::Settings;
use crate::cause::chain;
use crate::kubeconfig::go_architecture;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(7);
const ATTACH_ANNOTATION: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
/// Tells an external cloud provider what `--node-ip` says.
const PROVIDED_IP_ANNOTATION: &str = "alpha.kubernetes.io/provided-node-ip";

/// Labels of every node.
pub(super) fn default_labels(node_name: &str) -> BTreeMap<String, String> {
    let architecture = go_architecture();
    [
        ("kubernetes.io/hostname", node_name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Those of them that tell what the machine is.
pub(super) fn platform_labels() -> impl Iterator<Item = (String, String)> {
    default_labels("").into_iter().filter(|(name, _)| name != "kubernetes.io/hostname")
}

/// The object as it is made when there is none.
pub(super) fn initial(settings: &Settings, status: NodeStatus) -> Node {
    let mut labels = default_labels(&settings.node_name);
    labels.extend(settings.node_labels.iter().cloned());
    let mut annotations = BTreeMap::new();
    if settings.config.enable_controller_attach_detach {
        annotations.insert(ATTACH_ANNOTATION.to_owned(), "true".to_owned());
    }
    let given: Vec<String> = specified(&settings.node_ips).map(|ip| ip.to_string()).collect();
    if settings.external_cloud_provider && !given.is_empty() {
        annotations.insert(PROVIDED_IP_ANNOTATION.to_owned(), given.join(","));
    }
    let mut taints: Vec<Taint> = settings
        .config
        .register_with_taints
        .iter()
        .map(|taint| Taint {
            key: taint.key.clone(),
            value: (!taint.value.is_empty()).then(|| taint.value.clone()),
            effect: taint.effect.clone(),
            time_added: taint.time_added.as_deref().and_then(|at| at.parse().ok()).map(Time),
        })
        .collect();
    if settings.external_cloud_provider {
        taints.push(Taint {
            key: "node.cloudprovider.kubernetes.io/uninitialized".to_owned(),
            value: Some("true".to_owned()),
            effect: "NoSchedule".to_owned(),
            time_added: None,
        });
    }
    Node {
        metadata: ObjectMeta {
            name: Some(settings.node_name.clone()),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then_some(taints),
            provider_id: Some(settings.config.provider_id.clone()).filter(|id| !id.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status),
    }
}

/// What of an existing object must change; `None` when it fits. Labels that were given by flag count only at creation, except
/// the well-known ones that a kubelet reconciles.
pub(super) fn correction(wanted: &Node, found: &Node) -> Option<Value> {
    let reconciled = |name: &str| {
        default_labels("").contains_key(name)
            || matches!(
                name,
                "topology.kubernetes.io/zone"
                    | "topology.kubernetes.io/region"
                    | "failure-domain.beta.kubernetes.io/zone"
                    | "failure-domain.beta.kubernetes.io/region"
                    | "node.kubernetes.io/instance-type"
                    | "beta.kubernetes.io/instance-type"
            )
    };
    let mut labels = serde_json::Map::new();
    let known = found.metadata.labels.clone().unwrap_or_default();
    for (name, value) in wanted.metadata.labels.iter().flatten() {
        if reconciled(name) && known.get(name) != Some(value) {
            labels.insert(name.clone(), value.clone().into());
        }
    }
    let annotation =
        |node: &Node, name: &str| node.metadata.annotations.as_ref().and_then(|all| all.get(name)).cloned();
    let annotations: serde_json::Map<_, _> = [ATTACH_ANNOTATION, PROVIDED_IP_ANNOTATION]
        .into_iter()
        .filter(|name| annotation(wanted, name) != annotation(found, name))
        .map(|name| (name.to_owned(), json!(annotation(wanted, name))))
        .collect();
    let mut metadata = serde_json::Map::new();
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), annotations.into());
    }
    (!metadata.is_empty()).then(|| json!({ "metadata": metadata }))
}

/// The object in the API.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) node: Node,
    /// It was there before.
    pub(super) existed: bool,
}

/// Registers the node, trying until it works.
pub(super) async fn register(api: &Api<Node>, settings: &Settings, status: NodeStatus) -> Registered {
    let wanted = initial(settings, status);
    let mut delay = RETRY_FIRST;
    loop {
        match attempt(api, settings, &wanted).await {
            Ok(registered) => return registered,
            Err(error) => tracing::warn!(
                node = settings.node_name,
                error,
                "the node is not registered yet; tried again"
            ),
        }
        sleep(delay).await;
        delay = (delay * 2).min(RETRY_MOST);
    }
}

async fn attempt(api: &Api<Node>, settings: &Settings, wanted: &Node) -> Result<Registered, String> {
    let limit = settings.call_timeout;
    let late = |_| format!("no answer in {limit:?}");
    if settings.config.register_node {
        match timeout(limit, api.create(&PostParams::default(), wanted)).await.map_err(late)? {
            Ok(node) => {
                tracing::info!(node = settings.node_name, "the node is registered");
                return Ok(Registered { node, existed: false });
            }
            // Also without the right to create: somebody else may have made it.
            Err(kube::Error::Api(status)) if status.is_already_exists() || status.code == 403 => {}
            Err(error) => return Err(chain(&error)),
        }
    }
    let found =
        timeout(limit, api.get(&settings.node_name)).await.map_err(late)?.map_err(|error| chain(&error))?;
    let Some(patch) = correction(wanted, &found).filter(|_| settings.config.register_node) else {
        return Ok(Registered { node: found, existed: true });
    };
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let patched = api.patch(&settings.node_name, &params, &patch);
    let node = timeout(limit, patched).await.map_err(late)?.map_err(|error| chain(&error))?;
    Ok(Registered { node, existed: true })
}

#[cfg(test)]
mod tests;
