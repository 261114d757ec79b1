//! A node reads what its pods name, and its own objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::tests::on;
use super::super::{Attributes, On};
use super::allows;
use crate::api::key;
use crate::cache::{Cache, Limits};
use crate::kinds::pods::PODS;
use crate::selector::FieldSelector;
use crate::store::Embedded;

async fn cache(pods: &[Value]) -> (Arc<Cache>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("store")).unwrap();
    let cache = Cache::open(Arc::new(store), Limits::default()).await.unwrap();
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().unwrap();
        cache.create(&key(&PODS, "a", name), pod.clone()).await.unwrap();
    }
    (cache, dir)
}

fn pod(name: &str, node: &str, spec: Value) -> Value {
    let mut pod = json!({ "metadata": { "name": name, "namespace": "a" }, "spec": spec });
    pod["spec"]["nodeName"] = node.into();
    pod
}

#[tokio::test]
async fn objects_are_readable_for_the_node_whose_pods_name_them() {
    let secret =
        |name: &str| json!({ "imagePullSecrets": [{ "name": name }], "serviceAccountName": "account" });
    let map = json!({ "volumes": [{ "name": "v", "configMap": { "name": "map" } }] });
    let claim = json!({ "volumes": [{ "name": "v", "ephemeral": { "volumeClaimTemplate": {} } }] });
    let (cache, _dir) = cache(&[
        pod("p", "n", secret("s")),
        pod("q", "m", secret("t")),
        pod("r", "n", map),
        pod("e", "n", claim),
    ])
    .await;
    let elsewhere = |verb, resource, name| {
        let on = On::Resource { group: "", resource, subresource: None, namespace: "b", name };
        Attributes { verb, on, fields: None }
    };
    let cases = [
        (on("get", "secrets", "s"), true),
        (on("list", "secrets", "s"), true),
        (on("watch", "secrets", "s"), true),
        (on("list", "secrets", ""), false),
        (on("get", "secrets", "t"), false),
        (on("get", "secrets", "map"), false),
        (on("update", "secrets", "s"), false),
        (elsewhere("get", "secrets", "s"), false),
        (on("get", "configmaps", "map"), true),
        (on("get", "configmaps", "s"), false),
        (on("get", "persistentvolumeclaims", "e-v"), true),
        (on("update", "persistentvolumeclaims/status", "e-v"), true),
        (on("get", "persistentvolumeclaims", "p-v"), false),
        (on("create", "serviceaccounts/token", "account"), true),
        (on("create", "serviceaccounts/token", "other"), false),
        (on("get", "serviceaccounts", "account"), true),
        (on("list", "serviceaccounts", "account"), false),
        (on("get", "pods", "p"), true),
        (on("get", "pods", "q"), false),
        (on("list", "pods", ""), false),
        (on("create", "pods", ""), true),
        (on("delete", "pods", "q"), true),
        (on("patch", "pods", "p"), false),
        (on("patch", "pods/status", "p"), true),
        (on("create", "pods/eviction", "p"), true),
        (on("create", "pods/binding", "p"), false),
        (on("get", "nodes", "n"), true),
        (on("watch", "nodes", "n"), true),
        (on("get", "nodes", "m"), false),
        (on("list", "nodes", ""), false),
        (on("patch", "nodes/status", "m"), true),
        (on("delete", "nodes", "n"), false),
        (on("list", "services", ""), true),
        (on("create", "events", ""), true),
        (on("list", "events", ""), false),
    ];
    for (attributes, expected) in cases {
        let outcome = allows("n", &attributes, &cache);
        assert_eq!(outcome.is_ok(), expected, "{attributes:?} {outcome:?}");
    }
    let refused = allows("n", &on("get", "secrets", "t"), &cache).unwrap_err();
    assert_eq!(refused, "no relationship found between node 'n' and this object");
}

#[tokio::test]
async fn pods_are_listed_by_the_own_name_and_leases_are_the_own() {
    let (cache, _dir) = cache(&[]).await;
    for (selector, expected) in
        [("spec.nodeName=n", true), ("spec.nodeName=m", false), ("spec.nodeName!=n", false), ("", false)]
    {
        let fields = FieldSelector::parse(selector).unwrap();
        let on = On::Resource { group: "", resource: "pods", subresource: None, namespace: "", name: "" };
        let attributes = Attributes { verb: "watch", on, fields: Some(&fields) };
        assert_eq!(allows("n", &attributes, &cache).is_ok(), expected, "{selector}");
    }
    let lease = |verb, namespace, name| {
        let on = On::Resource {
            group: "coordination.k8s.io",
            resource: "leases",
            subresource: None,
            namespace,
            name,
        };
        allows("n", &Attributes { verb, on, fields: None }, &cache).is_ok()
    };
    assert!(lease("update", "kube-node-lease", "n") && lease("create", "kube-node-lease", ""));
    assert!(!lease("update", "kube-node-lease", "m") && !lease("get", "default", "n"));
    assert!(!lease("list", "kube-node-lease", "n"));
}
