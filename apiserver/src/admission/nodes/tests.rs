//! A node writes what is its own.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Operation, Write};
use super::restrict;
use crate::authenticate::User;
use crate::kinds::leases::LEASES;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::serviceaccounts::SERVICEACCOUNTS;
use crate::kinds::{Cluster, Kind, text};

/// How an object differs from the plain one.
type Adjust = fn(&mut Value);

/// A cluster with the node `n` and two pods.
struct Fixed;

impl Cluster for Fixed {
    fn get(&self, kind: &Kind, _namespace: &str, name: &str) -> Option<Arc<Value>> {
        let object = match (kind.plural, name) {
            ("nodes", "n") => json!({ "metadata": { "name": "n", "uid": "node-uid" } }),
            ("pods", "mine") => {
                let token = |audience: Value| json!({ "serviceAccountToken": { "audience": audience } });
                let sources = [token(Value::Null), token("vault".into())];
                let volumes = json!([{ "name": "v", "projected": { "sources": sources } }]);
                json!({ "metadata": { "uid": "1" }, "spec": { "nodeName": "n", "volumes": volumes } })
            }
            ("pods", "other") => json!({ "metadata": { "uid": "2" }, "spec": { "nodeName": "m" } }),
            _ => return None,
        };
        Some(Arc::new(object))
    }

    fn list(&self, _kind: &Kind) -> Vec<Arc<Value>> {
        Vec::new()
    }

    fn service_range(&self) -> (std::net::Ipv4Addr, u8) {
        ([10, 0, 0, 0].into(), 16)
    }
}

fn said(kind: &Kind, subresource: Option<&str>, name: &str, operation: Operation<'_>) -> Result<(), String> {
    let groups = vec!["system:nodes".to_owned()];
    let user = User::authenticated("system:node:n".to_owned(), String::new(), groups);
    let write = Write { user: &user, kind, subresource, name, operation };
    restrict(&write, &Fixed, &|audience| audience == "granted").map_err(|e| e.message)
}

fn mirror(adjust: impl FnOnce(&mut Value)) -> Value {
    let owner =
        json!({ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "node-uid", "controller": true });
    let mut pod = json!({
        "metadata": {
            "name": "p",
            "annotations": { "kubernetes.io/config.mirror": "h" },
            "ownerReferences": [owner],
        },
        "spec": { "nodeName": "n", "containers": [{ "name": "c", "image": "i" }] },
    });
    adjust(&mut pod);
    pod
}

#[test]
fn only_mirrors_that_are_its_own_and_name_nothing_are_created() {
    let create = |pod: &Value| said(&PODS, None, "p", Operation::Create(pod));
    assert_eq!(create(&mirror(|_| ())), Ok(()));
    let cases: [(Adjust, &str); 11] = [
        (|p| p["metadata"]["annotations"] = json!({}), "can only create mirror pods"),
        (|p| p["spec"]["nodeName"] = "m".into(), "with spec.nodeName set to itself"),
        (|p| p["metadata"]["ownerReferences"] = json!([]), "with an owner reference set to itself"),
        (|p| p["metadata"]["ownerReferences"] = json!([{}, {}]), "with a single owner reference"),
        (
            |p| p["metadata"]["ownerReferences"][0]["name"] = "m".into(),
            "with an owner reference set to itself",
        ),
        (
            |p| p["metadata"]["ownerReferences"][0]["controller"] = false.into(),
            "with a controller owner reference",
        ),
        (
            |p| p["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into(),
            "must not set blockOwnerDeletion",
        ),
        (
            |p| p["metadata"]["ownerReferences"][0]["uid"] = "x".into(),
            "UID mismatch: expected node-uid got x",
        ),
        (
            |p| p["spec"]["serviceAccountName"] = "s".into(),
            "can not create pods that reference a service account",
        ),
        (
            |p| p["spec"]["volumes"] = json!([{ "name": "v", "secret": { "secretName": "s" } }]),
            "can not create pods that reference secrets",
        ),
        (
            |p| p["spec"]["volumes"] = json!([{ "name": "v", "configMap": { "name": "s" } }]),
            "can not create pods that reference configmaps",
        ),
    ];
    for (adjust, expected) in cases {
        let told = create(&mirror(adjust)).unwrap_err();
        assert!(told.starts_with("pods \"p\" is forbidden: ") && told.contains(expected), "{told}");
    }
}

#[test]
fn pods_of_other_nodes_are_left_alone() {
    let (mine, other) = (mirror(|_| ()), mirror(|p| p["spec"]["nodeName"] = "m".into()));
    let update = |old, new| said(&PODS, Some("status"), "p", Operation::Update { old, new });
    assert_eq!(update(&mine, &mine), Ok(()));
    assert!(update(&other, &mine).unwrap_err().contains("can only update pod status for pods"));
    let labelled = mirror(|p| p["metadata"]["labels"] = json!({ "a": "b" }));
    assert!(update(&mine, &labelled).unwrap_err().contains("cannot update labels through pod status"));
    assert_eq!(said(&PODS, None, "p", Operation::Delete(&mine)), Ok(()));
    assert!(said(&PODS, None, "p", Operation::Delete(&other)).unwrap_err().contains("can only delete pods"));
    assert_eq!(said(&PODS, Some("eviction"), "p", Operation::Create(&mine)), Ok(()));
    assert!(
        said(&PODS, Some("eviction"), "p", Operation::Create(&other)).unwrap_err().contains("can only evict")
    );
    let whole = Operation::Update { old: &mine, new: &mine };
    assert!(said(&PODS, None, "p", whole).unwrap_err().contains("unexpected operation \"UPDATE\""));
    assert!(
        said(&PODS, Some("resize"), "p", whole)
            .unwrap_err()
            .contains("unexpected pod subresource \"resize\"")
    );
}

#[test]
fn the_own_node_is_labelled_and_tainted_by_others() {
    let node = |adjust: fn(&mut Value)| {
        let mut node = json!({ "metadata": { "name": "n", "labels": {} }, "spec": {} });
        adjust(&mut node);
        node
    };
    let plain = node(|_| ());
    let create = |node: &Value| said(&NODES, None, text(node, "/metadata/name"), Operation::Create(node));
    let update = |new: &Value| said(&NODES, Some("status"), "n", Operation::Update { old: &plain, new });
    let tainted = node(|n| n["spec"]["taints"] = json!([{ "key": "k", "effect": "NoSchedule" }]));
    assert_eq!(create(&tainted), Ok(()), "a node registers with taints");
    assert!(update(&tainted).unwrap_err().contains("is not allowed to modify taints"));
    let owned = node(|n| n["metadata"]["ownerReferences"] = json!([{ "name": "x" }]));
    assert!(update(&owned).unwrap_err().contains("owner references"));
    let configured = node(|n| n["spec"]["configSource"] = json!({}));
    assert!(create(&configured).is_err() && update(&configured).is_err());
    let labels: [(Adjust, bool); 9] = [
        (|n| n["metadata"]["labels"]["kubernetes.io/hostname"] = "n".into(), true),
        (|n| n["metadata"]["labels"]["topology.kubernetes.io/zone"] = "z".into(), true),
        (|n| n["metadata"]["labels"]["node.kubernetes.io/anything"] = "z".into(), true),
        (|n| n["metadata"]["labels"]["gpu.kubelet.kubernetes.io/x"] = "z".into(), true),
        (|n| n["metadata"]["labels"]["tier"] = "edge".into(), true),
        (|n| n["metadata"]["labels"]["example.com/x"] = "edge".into(), true),
        (|n| n["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = "".into(), false),
        (|n| n["metadata"]["labels"]["a.node-restriction.kubernetes.io/x"] = "".into(), false),
        (|n| n["metadata"]["labels"]["k8s.io/x"] = "".into(), false),
    ];
    for (adjust, expected) in labels {
        let node = node(adjust);
        assert_eq!(create(&node).is_ok(), expected, "{node} {:?}", create(&node));
        assert_eq!(update(&node).is_ok(), expected, "{node} {:?}", update(&node));
    }
    let other = json!({ "metadata": { "name": "m" } });
    assert_eq!(
        create(&other).unwrap_err(),
        "nodes \"m\" is forbidden: node \"n\" is not allowed to modify node \"m\""
    );
    assert!(said(&NODES, Some("status"), "m", Operation::Update { old: &other, new: &other }).is_err());
}

#[test]
fn leases_and_tokens_are_the_own() {
    let lease = |name: &str, namespace: &str| json!({ "metadata": { "name": name, "namespace": namespace } });
    let create = |lease: &Value| said(&LEASES, None, text(lease, "/metadata/name"), Operation::Create(lease));
    assert_eq!(create(&lease("n", "kube-node-lease")), Ok(()));
    assert!(create(&lease("m", "kube-node-lease")).is_err() && create(&lease("n", "default")).is_err());
    let token = |bound: Value| {
        let request = json!({ "metadata": { "namespace": "a" }, "spec": { "boundObjectRef": bound } });
        said(&SERVICEACCOUNTS, Some("token"), "s", Operation::Create(&request))
    };
    let bound =
        |name: &str, uid: &str| json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid });
    assert_eq!(token(bound("mine", "1")), Ok(()));
    let audience = |audiences: Value| {
        let spec = json!({ "audiences": audiences, "boundObjectRef": bound("mine", "1") });
        let request = json!({ "metadata": { "namespace": "a" }, "spec": spec });
        said(&SERVICEACCOUNTS, Some("token"), "s", Operation::Create(&request))
    };
    assert_eq!(audience(json!(["vault"])), Ok(()));
    assert_eq!(audience(json!(["granted"])), Ok(()), "somebody has given the node the right");
    assert!(
        audience(json!(["other"])).unwrap_err().contains("audience \"other\" not found in pod spec volume")
    );
    assert!(audience(json!(["vault", "other"])).unwrap_err().contains("0 or 1 audiences"));
    for (bound, why) in [
        (Value::Null, "not bound to a pod"),
        (json!({ "apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "1" }), "not bound to a pod"),
        (bound("mine", ""), "without a uid"),
        (bound("mine", "2"), "does not match the UID in record"),
        (bound("other", "2"), "scheduled on a different node"),
        (bound("gone", "1"), "pods \"gone\" not found"),
    ] {
        let told = token(bound).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
}
