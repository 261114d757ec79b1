use super::*;

fn fields(manifest: serde_json::Value) -> Vec<String> {
    let pod: ApiPod = serde_json::from_value(serde_json::json!({ "spec": manifest })).expect("a pod");
    unsupported_fields(&pod, Supported::default()).into_iter().map(|(_, path)| path).collect()
}

#[test]
fn a_plain_pod_uses_nothing_that_is_refused() {
    let spec = serde_json::json!({
        "hostNetwork": true, "securityContext": {}, "restartPolicy": "Always",
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                        "env": [{"name": "A", "value": "b"}, {"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}],
    });
    assert_eq!(fields(spec), Vec::<String>::new());
}

#[test]
fn each_refused_field_is_named_by_its_path() {
    let spec = serde_json::json!({
        "hostPID": true, "securityContext": {"fsGroup": 7}, "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [{"name": "i", "restartPolicy": "Always"}],
        "containers": [
            {"name": "a"},
            {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
             "env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
             "resources": {"limits": {"example.com/gpu": "1"}}},
        ],
    });
    assert_eq!(
        fields(spec),
        [
            "spec.securityContext",
            "spec.hostPID",
            "spec.volumes[0]",
            "spec.containers[1].volumeMounts",
            "spec.containers[1].resources.limits[example.com/gpu]",
            "spec.containers[1].env[0].valueFrom.secretKeyRef",
        ]
    );
}
