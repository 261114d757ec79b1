//! What upstream's NodeRestriction says: a node writes its own node object and lease, mirrors of its static pods, and the status of
//! the pods that are bound to it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Operation, Write};
use crate::authorize::node_of;
use crate::authorize::nodes::LEASE_NAMESPACE;
use crate::authorize::references;
use crate::kinds::field::quote;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::values::{entries, is_true, items, string};
use crate::kinds::{Cluster, text};
use crate::status::ApiError;

/// Annotation that marks the API's copy of a static pod.
const MIRROR_KEY: &str = "kubernetes.io/config.mirror";

/// Labels of Kubernetes' own that a node may set on its object (as upstream).
const OWN_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Domains of which, and of whose sub-domains, it may set any.
const OWN_LABEL_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The domain that is for others to say what a node is.
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

/// Whether somebody was given the right to ask for tokens for an audience.
type MayAsk<'a> = &'a dyn Fn(&str) -> bool;

/// Refuses what is not the node's. Who is no node is not restricted.
pub(super) fn restrict(
    write: &Write<'_>,
    cluster: &dyn Cluster,
    may_ask: MayAsk<'_>,
) -> Result<(), ApiError> {
    let Some(node) = node_of(write.user) else { return Ok(()) };
    let outcome = match (write.kind.body.group, write.kind.plural, write.subresource) {
        ("", "pods", None) => pod(node, write, cluster),
        ("", "pods", Some("status")) => pod_status(node, write),
        ("", "pods", Some("eviction")) => eviction(node, write),
        ("", "pods", Some(other)) => {
            Err(format!("unexpected pod subresource \"{other}\", only 'status' and 'eviction' are allowed"))
        }
        ("", "nodes", _) => own_node(node, write),
        ("", "persistentvolumeclaims", Some("status")) => Ok(()),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("", "serviceaccounts", Some("token")) => token(node, write, cluster, may_ask),
        ("coordination.k8s.io", "leases", _) => lease(node, write),
        ("storage.k8s.io", "csinodes", _) if name_of(write) != node => {
            Err("can only access CSINode with the same name as the requesting node".to_owned())
        }
        _ => Ok(()),
    };
    outcome.map_err(|why| write.forbidden(&why))
}

/// The name of the object, which a new one brings itself.
fn name_of<'a>(write: &Write<'a>) -> &'a str {
    match write.operation {
        Operation::Create(new) if write.subresource.is_none() => text(new, "/metadata/name"),
        _ => write.name,
    }
}

fn bound_to(pod: &Value, node: &str) -> bool {
    text(pod, "/spec/nodeName") == node
}

fn pod(node: &str, write: &Write<'_>, cluster: &dyn Cluster) -> Result<(), String> {
    match write.operation {
        Operation::Create(pod) => new_pod(node, pod, cluster),
        Operation::Delete(pod) if bound_to(pod, node) => Ok(()),
        Operation::Delete(_) => {
            Err(format!("node \"{node}\" can only delete pods with spec.nodeName set to itself"))
        }
        Operation::Update { .. } => Err(format!(
            "unexpected operation \"UPDATE\", node \"{node}\" can only create and delete mirror pods"
        )),
    }
}

/// A mirror of a static pod: bound to the node, owned by it, and without a reference to any object that the node could read through it.
fn new_pod(node: &str, pod: &Value, cluster: &dyn Cluster) -> Result<(), String> {
    if pod.pointer("/metadata/annotations").and_then(|a| a.get(MIRROR_KEY)).is_none() {
        return Err(format!(
            "pod does not have \"{MIRROR_KEY}\" annotation, node \"{node}\" can only create mirror pods"
        ));
    }
    if !bound_to(pod, node) {
        return Err(format!("node \"{node}\" can only create pods with spec.nodeName set to itself"));
    }
    let owned = |what: &str| Err(format!("node \"{node}\" can only create pods with {what} set to itself"));
    let owner = match items(pod.get("metadata").unwrap_or(&Value::Null), "ownerReferences") {
        [] => return owned("an owner reference"),
        [owner] => owner,
        _ => return owned("a single owner reference"),
    };
    if (string(owner, "apiVersion"), string(owner, "kind"), string(owner, "name")) != ("v1", "Node", node) {
        return owned("an owner reference");
    }
    if !is_true(owner, "controller") {
        return owned("a controller owner reference");
    }
    if is_true(owner, "blockOwnerDeletion") {
        return Err(format!("node \"{node}\" must not set blockOwnerDeletion on an owner reference"));
    }
    let found = cluster.get(&NODES, "", node).ok_or_else(|| format!("node \"{node}\" not found"))?;
    let (uid, expected) = (string(owner, "uid"), text(&found, "/metadata/uid"));
    if uid != expected {
        return Err(format!("node {node} UID mismatch: expected {expected} got {uid}"));
    }
    match references::any(pod) {
        Some(what) => Err(format!("node \"{node}\" can not create pods that reference {what}")),
        None => Ok(()),
    }
}

fn pod_status(node: &str, write: &Write<'_>) -> Result<(), String> {
    let Operation::Update { old, new } = write.operation else {
        return Err("unexpected operation".to_owned());
    };
    if !bound_to(old, node) {
        return Err(format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if !changed_labels(old, new).is_empty() {
        return Err(format!("node \"{node}\" cannot update labels through pod status"));
    }
    if old.pointer("/status/resourceClaimStatuses") != new.pointer("/status/resourceClaimStatuses") {
        return Err(format!("node \"{node}\" cannot update resource claim statues"));
    }
    Ok(())
}

fn eviction(node: &str, write: &Write<'_>) -> Result<(), String> {
    match write.operation {
        // The pod, not the eviction.
        Operation::Create(pod) if bound_to(pod, node) => Ok(()),
        _ => Err(format!("node {node} can only evict pods with spec.nodeName set to itself")),
    }
}

fn own_node(node: &str, write: &Write<'_>) -> Result<(), String> {
    let name = name_of(write);
    if name != node {
        return Err(format!("node \"{node}\" is not allowed to modify node \"{name}\""));
    }
    let list = |labels: BTreeSet<&str>| labels.into_iter().collect::<Vec<_>>().join(", ");
    match write.operation {
        Operation::Create(new) => {
            if new.pointer("/spec/configSource").is_some() {
                return Err(format!(
                    "node \"{node}\" is not allowed to create pods with a non-nil configSource"
                ));
            }
            let labels = forbidden_labels(changed_labels(&Value::Null, new));
            if !labels.is_empty() {
                let labels = list(labels);
                return Err(format!("node \"{node}\" is not allowed to set the following labels: {labels}"));
            }
        }
        Operation::Update { old, new } => {
            let source = new.pointer("/spec/configSource");
            if source.is_some() && source != old.pointer("/spec/configSource") {
                return Err(format!(
                    "node \"{node}\" is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            let taints =
                |object: &Value| items(object.get("spec").unwrap_or(&Value::Null), "taints").to_vec();
            if taints(old) != taints(new) {
                return Err(format!("node \"{node}\" is not allowed to modify taints"));
            }
            let labels = forbidden_labels(changed_labels(old, new));
            if !labels.is_empty() {
                return Err(format!("is not allowed to modify labels: {}", list(labels)));
            }
            let owners = "/metadata/ownerReferences";
            if old.pointer(owners) != new.pointer(owners) {
                return Err(format!("node \"{node}\" is not allowed to modify owner references"));
            }
        }
        Operation::Delete(_) => {}
    }
    Ok(())
}

fn lease(node: &str, write: &Write<'_>) -> Result<(), String> {
    let (Operation::Create(lease) | Operation::Delete(lease) | Operation::Update { old: lease, .. }) =
        write.operation;
    if text(lease, "/metadata/namespace") != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"));
    }
    if name_of(write) != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// A token of a service account is for one of the node's pods.
fn token(node: &str, write: &Write<'_>, cluster: &dyn Cluster, may_ask: MayAsk<'_>) -> Result<(), String> {
    let Operation::Create(request) = write.operation else { return Ok(()) };
    let bound = request.pointer("/spec/boundObjectRef").unwrap_or(&Value::Null);
    let name = string(bound, "name");
    if (string(bound, "apiVersion"), string(bound, "kind")) != ("v1", "Pod") || name.is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    let uid = string(bound, "uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let namespace = text(request, "/metadata/namespace");
    let pod = cluster.get(&PODS, namespace, name).ok_or_else(|| format!("pods \"{name}\" not found"))?;
    if text(&pod, "/metadata/uid") != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if !bound_to(&pod, node) {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    audience(request, &pod, may_ask)
}

/// The token is for an audience that a volume of the pod names, where none stands for this server, or that the node was given.
fn audience(request: &Value, pod: &Value, may_ask: MayAsk<'_>) -> Result<(), String> {
    let spec = |object: &Value, list: &str| items(object.get("spec").unwrap_or(&Value::Null), list).to_vec();
    let asked = match spec(request, "audiences").as_slice() {
        [] => String::new(),
        [one] => one.as_str().unwrap_or("").to_owned(),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    let named = spec(pod, "volumes").iter().filter_map(|v| v.get("projected")).any(|projected| {
        let tokens = items(projected, "sources").iter().filter_map(|s| s.get("serviceAccountToken"));
        tokens.into_iter().any(|token| string(token, "audience") == asked)
    });
    if named || may_ask(&asked) {
        Ok(())
    } else {
        Err(format!("audience {} not found in pod spec volume", quote(&asked)))
    }
}

/// The labels that are not the same on both sides.
fn changed_labels<'a>(old: &'a Value, new: &'a Value) -> BTreeSet<&'a str> {
    let labels = |object: &'a Value| entries(object.get("metadata").unwrap_or(&Value::Null), "labels");
    let value = |object: &'a Value, key: &str| object.pointer("/metadata/labels").and_then(|l| l.get(key));
    let keys = labels(old).chain(labels(new)).map(|(key, _)| key.as_str());
    keys.filter(|key| value(old, key) != value(new, key)).collect()
}

fn in_domain(domain: &str, of: &str) -> bool {
    domain.strip_suffix(of).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Those of the labels that are not a node's to set.
fn forbidden_labels(changed: BTreeSet<&str>) -> BTreeSet<&str> {
    let forbidden = |label: &&str| {
        let domain = label.split_once('/').map_or("", |(domain, _)| domain);
        let reserved = in_domain(domain, "kubernetes.io") || in_domain(domain, "k8s.io");
        let own = OWN_LABELS.contains(label) || OWN_LABEL_DOMAINS.iter().any(|d| in_domain(domain, d));
        in_domain(domain, RESTRICTED_DOMAIN) || reserved && !own
    };
    changed.into_iter().filter(forbidden).collect()
}

#[cfg(test)]
mod tests;
