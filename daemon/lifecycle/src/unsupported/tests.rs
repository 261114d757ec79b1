use super::*;

fn fields(manifest: serde_json::Value) -> Vec<String> {
    let pod: ApiPod = serde_json::from_value(serde_json::json!({ "spec": manifest })).expect("a pod");
    unsupported_fields(&pod, Supported::default()).into_iter().map(|(_, path)| path).collect()
}

#[test]
fn what_is_carried_out_is_not_refused() {
    let spec = serde_json::json!({
        "hostNetwork": true, "hostPID": true, "hostIPC": true, "hostUsers": false, "shareProcessNamespace": true,
        "runtimeClassName": "r", "overhead": {"cpu": "10m"}, "restartPolicy": "Always",
        "securityContext": {"runAsUser": 1, "fsGroup": 2, "sysctls": [{"name": "kernel.sem", "value": "1"}]},
        "hostAliases": [{"ip": "1.2.3.4"}], "dnsPolicy": "None", "dnsConfig": {}, "hostnameOverride": "h",
        "setHostnameAsFQDN": true, "subdomain": "s",
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "2Mi"}},
                        "envFrom": [{"configMapRef": {"name": "m"}}], "securityContext": {"privileged": true},
                        "lifecycle": {"stopSignal": "SIGINT"},
                        "env": [{"name": "A", "value": "b"}, {"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
    });
    assert_eq!(fields(spec), Vec::<String>::new());
}

#[test]
fn each_refused_field_is_named_by_its_path() {
    let spec = serde_json::json!({
        "resourceClaims": [{"name": "gpu"}], "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [{"name": "i", "restartPolicy": "Always"}],
        "containers": [
            {"name": "a"},
            {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
             "volumeDevices": [{"name": "v", "devicePath": "/dev/v"}],
             "resources": {"limits": {"example.com/gpu": "1"}, "claims": [{"name": "gpu"}]}},
        ],
    });
    assert_eq!(
        fields(spec),
        [
            "spec.resourceClaims",
            "spec.volumes[0]",
            "spec.containers[1].volumeMounts",
            "spec.containers[1].volumeDevices",
            "spec.containers[1].resources.claims",
            "spec.containers[1].resources.limits[example.com/gpu]",
        ]
    );
}

#[test]
fn volumes_that_nobody_makes_are_named_by_their_kind() {
    let manifest = serde_json::json!({
        "containers": [{"name": "c", "volumeMounts": [{"name": "a", "mountPath": "/a"}]}],
        "securityContext": {"fsGroup": 7, "fsGroupChangePolicy": "OnRootMismatch"},
        "volumes": [
            {"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/x"}}, {"name": "c", "configMap": {"name": "x"}},
            {"name": "d", "secret": {"secretName": "x"}}, {"name": "e", "downwardAPI": {}}, {"name": "f", "image": {"reference": "x"}},
            {"name": "g", "persistentVolumeClaim": {"claimName": "x"}},
            {"name": "h", "projected": {"sources": [{"configMap": {"name": "x"}}, {"serviceAccountToken": {"path": "t"}}]}},
            {"name": "i", "csi": {"driver": "x"}}, {"name": "j", "nfs": {"server": "x", "path": "/"}},
            {"name": "k", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            {"name": "l", "projected": {"sources": [{"secret": {"name": "x"}}, {"clusterTrustBundle": {"path": "t"}}]}},
        ],
    });
    let pod: ApiPod = serde_json::from_value(serde_json::json!({ "spec": manifest })).expect("a pod");
    let supported = Supported { volumes: true, ..Supported::default() };
    let paths: Vec<String> = unsupported_fields(&pod, supported).into_iter().map(|(_, path)| path).collect();
    assert_eq!(
        paths,
        [
            "spec.volumes[8].csi",
            "spec.volumes[9].nfs",
            "spec.volumes[10].ephemeral",
            "spec.volumes[11].projected.sources[1].clusterTrustBundle",
        ]
    );
}
