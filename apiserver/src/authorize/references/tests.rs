//! A pod names the objects that its containers, volumes and pulls need.

use serde_json::{Value, json};

use super::{Referent, any, names};

fn pod(spec: Value) -> Value {
    json!({ "metadata": { "name": "p" }, "spec": spec })
}

fn container(list: &str, container: Value) -> Value {
    pod(json!({ list: [container] }))
}

fn volume(source: Value) -> Value {
    let mut volume = source;
    volume["name"] = "v".into();
    pod(json!({ "volumes": [volume] }))
}

#[test]
fn every_place_that_names_an_object_counts() {
    let key = |field: &str| json!({ "env": [{ "name": "E", "valueFrom": { field: { "name": "x", "key": "k" } } }] });
    let from = |field: &str| json!({ "envFrom": [{ field: { "name": "x" } }] });
    let projected = |field: &str| volume(json!({ "projected": { "sources": [{ field: { "name": "x" } }] } }));
    let cases = [
        (Referent::Secret, pod(json!({ "imagePullSecrets": [{ "name": "x" }] }))),
        (Referent::Secret, container("containers", key("secretKeyRef"))),
        (Referent::Secret, container("initContainers", from("secretRef"))),
        (Referent::Secret, container("ephemeralContainers", key("secretKeyRef"))),
        (Referent::Secret, volume(json!({ "secret": { "secretName": "x" } }))),
        (Referent::Secret, volume(json!({ "csi": { "nodePublishSecretRef": { "name": "x" } } }))),
        (Referent::Secret, projected("secret")),
        (Referent::ConfigMap, container("containers", key("configMapKeyRef"))),
        (Referent::ConfigMap, container("containers", from("configMapRef"))),
        (Referent::ConfigMap, volume(json!({ "configMap": { "name": "x" } }))),
        (Referent::ConfigMap, projected("configMap")),
        (Referent::Claim, volume(json!({ "persistentVolumeClaim": { "claimName": "x" } }))),
        (Referent::ServiceAccount, pod(json!({ "serviceAccountName": "x" }))),
    ];
    let all = [Referent::Secret, Referent::ConfigMap, Referent::Claim, Referent::ServiceAccount];
    for (referent, mut pod) in cases {
        for other in all {
            assert_eq!(names(&pod, other, "x"), other == referent, "{other:?} {pod}");
            assert!(!names(&pod, other, "y") && !names(&pod, other, ""), "{other:?} {pod}");
        }
        assert!(any(&pod).is_some(), "{pod}");
        pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "h" });
        assert!(!names(&pod, referent, "x"), "a mirror pod opens nothing: {pod}");
    }
    let ephemeral = volume(json!({ "ephemeral": { "volumeClaimTemplate": {} } }));
    assert!(names(&ephemeral, Referent::Claim, "p-v") && !names(&ephemeral, Referent::Claim, "p-w"));
    assert!(names(&ephemeral, Referent::Pod, "p") && !names(&ephemeral, Referent::Pod, "q"));
    assert_eq!(any(&pod(json!({ "containers": [{ "name": "c", "image": "i" }] }))), None);
}
