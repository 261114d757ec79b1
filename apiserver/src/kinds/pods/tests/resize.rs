//! What of a pod's resources may change while it runs.

use super::*;

/// A burstable pod on a node: a sidecar, an init container and a regular one.
fn bound() -> Value {
    let amounts = json!({ "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "cpu": "1" } });
    admitted(|p| {
        p["spec"]["nodeName"] = "n".into();
        p["spec"]["containers"][0]["resources"] = amounts.clone();
        p["spec"]["initContainers"] = json!([
            { "name": "s", "image": "i", "restartPolicy": "Always", "resources": amounts },
            { "name": "i", "image": "i", "resources": amounts },
        ]);
    })
    .unwrap()
}

fn resized(old: &Value, change: impl FnOnce(&mut Value)) -> (Value, Vec<String>) {
    changed(old, Part::Resize, change)
}

fn amounts(pod: &mut Value) -> &mut Value {
    &mut pod["spec"]["containers"][0]["resources"]
}

#[test]
fn processor_and_memory_change_and_nothing_else() {
    let old = bound();
    let (new, errors) = resized(&old, |p| {
        amounts(p)["requests"] = json!({ "cpu": "200m", "memory": "32Mi" });
        amounts(p)["limits"] = json!({ "cpu": "2", "memory": "128Mi" });
        p["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] = "50m".into();
        p["spec"]["initContainers"][1]["resources"]["requests"]["cpu"] = "50m".into();
        p["spec"]["containers"][0]["image"] = "other".into();
        p["metadata"]["labels"] = json!({ "a": "b" });
        p["status"] = json!({ "phase": "Failed" });
    });
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(generation(&new), 2);
    let mut expected = old.clone();
    expected["metadata"]["generation"] = 2.into();
    *amounts(&mut expected) = json!({ "requests": { "cpu": "200m", "memory": "32Mi" }, "limits": { "cpu": "2", "memory": "128Mi" } });
    for index in [0, 1] {
        expected["spec"]["initContainers"][index]["resources"]["requests"]["cpu"] = "50m".into();
    }
    assert_eq!(new, expected);
    let (same, errors) = resized(&old, |p| p["spec"]["containers"][0]["image"] = "other".into());
    assert!(errors.is_empty() && same == old, "{errors:?}");
    let (_, errors) = changed(&old, Part::Main, |p| amounts(p)["requests"]["cpu"] = "200m".into());
    assert!(errors[0].contains("changed: spec.containers[0].resources.requests.cpu"), "{errors:?}");
}

#[test]
fn every_mistake_is_named_by_its_path() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (
            |p| {
                amounts(p)["limits"]["memory"] = "64Mi".into();
                amounts(p)["requests"]["cpu"] = "1".into();
                for index in [0, 1] {
                    p["spec"]["initContainers"][index]["resources"] = amounts(p).clone();
                }
            },
            "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
        ),
        (
            |p| drop(amounts(p)["requests"].as_object_mut().unwrap().remove("memory")),
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            |p| drop(amounts(p).as_object_mut().unwrap().remove("limits")),
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ),
        (
            |p| amounts(p)["limits"]["cpu"] = "50m".into(),
            "spec.containers[0].resources.requests: Invalid value: \"100m\": must be less than or equal to cpu limit of 50m",
        ),
        (
            |p| amounts(p)["requests"]["ephemeral-storage"] = "1Gi".into(),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            |p| {
                p["spec"]["containers"][0]["resizePolicy"] =
                    json!([{ "resourceName": "cpu", "restartPolicy": "RestartContainer" }])
            },
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            |p| p["spec"]["initContainers"][0]["resources"]["requests"]["ephemeral-storage"] = "1Gi".into(),
            "spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
        ),
        (
            |p| p["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "x", "image": "i" })),
            "spec.containers: Forbidden: containers may not be added or removed on resize",
        ),
        (
            |p| p["spec"]["initContainers"].as_array_mut().unwrap().reverse(),
            "spec.initContainers[0].name: Forbidden: initContainers may not be renamed or reordered on resize",
        ),
    ];
    for (change, expected) in cases {
        let (_, errors) = resized(&bound(), change);
        assert!(errors.iter().any(|e| e == expected), "{expected}: {errors:?}");
    }
}

#[test]
fn a_pods_own_resources_are_resized_too_and_do_not_go() {
    let old = admitted(|p| p["spec"]["resources"] = json!({ "requests": { "cpu": "1" } })).unwrap();
    let (new, errors) = resized(&old, |p| p["spec"]["resources"]["requests"]["cpu"] = "2".into());
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!((&new["spec"]["resources"]["requests"]["cpu"], generation(&new)), (&json!("2"), 2));
    let (_, errors) = resized(&old, |p| drop(p["spec"].as_object_mut().unwrap().remove("resources")));
    assert!(
        errors.contains(&"spec.resources: Forbidden: pod-level resources cannot be removed".to_owned()),
        "{errors:?}"
    );
}

#[test]
fn some_pods_are_not_resized_at_all() {
    let mut mirror = bound();
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    let grow: fn(&mut Value) = |p| amounts(p)["requests"]["cpu"] = "200m".into();
    assert_eq!(resized(&mirror, grow).1, ["[]: Forbidden: static pods cannot be resized"]);
    let mut windows = bound();
    windows["spec"]["os"] = json!({ "name": "windows" });
    assert_eq!(resized(&windows, grow).1, ["[]: Forbidden: windows pods cannot be resized"]);
    let mut old_node = bound();
    old_node["status"]["containerStatuses"] = json!([{ "name": "c", "state": { "running": {} } }]);
    assert_eq!(
        resized(&old_node, grow).1,
        ["spec: Forbidden: Pod running on node without support for resize"]
    );
    old_node["status"]["containerStatuses"][0]["resources"] = json!({});
    assert!(resized(&old_node, grow).1.is_empty());
}

#[test]
fn what_the_node_does_not_have_at_all_is_refused() {
    let permitted = |old: &Value, change: fn(&mut Value)| {
        let (new, errors) = resized(old, change);
        assert!(errors.is_empty(), "{errors:?}");
        PODS.permit_update(&new, old, Part::Resize, &Classes).map_err(|e| e.to_string())
    };
    let old = bound();
    // The sidecar's 100m and 64Mi are counted.
    permitted(&old, |p| {
        *amounts(p) = json!({ "requests": { "cpu": "3400m", "memory": "960Mi" }, "limits": { "cpu": "4" } });
    })
    .unwrap();
    let refused = permitted(&old, |p| {
        *amounts(p) = json!({ "requests": { "cpu": "3500m", "memory": "1Gi" }, "limits": { "cpu": "4" } });
    });
    assert_eq!(
        refused.unwrap_err(),
        "Node didn't have enough allocatable resources: cpu, requested: 3600, allocatable: 3500; memory, requested: 1140850688, allocatable: 1073741824"
    );
    let mut unbound = old.clone();
    unbound["spec"].as_object_mut().unwrap().remove("nodeName");
    permitted(&unbound, |p| {
        *amounts(p) = json!({ "requests": { "cpu": "5", "memory": "1Gi" }, "limits": { "cpu": "5" } });
    })
    .unwrap();
    let mut elsewhere = old;
    elsewhere["spec"]["nodeName"] = "m".into();
    let refused = permitted(&elsewhere, |p| amounts(p)["requests"]["cpu"] = "200m".into());
    assert_eq!(refused.unwrap_err(), "node \"m\" not found");
}
