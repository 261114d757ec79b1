//! Ephemeral containers are added and never changed.

use super::*;

fn added(old: &Value, container: Value) -> (Value, Vec<String>) {
    changed(old, Part::EphemeralContainers, |p| {
        let list = p["spec"].as_object_mut().unwrap().entry("ephemeralContainers").or_insert(json!([]));
        list.as_array_mut().unwrap().push(container);
    })
}

/// A pod with an init container, a regular one and an ephemeral one.
fn debugged() -> Value {
    let pod = admitted(|p| p["spec"]["initContainers"] = json!([{ "name": "i", "image": "i" }])).unwrap();
    let (pod, errors) = added(&pod, json!({ "name": "d", "image": "busybox", "targetContainerName": "c" }));
    assert!(errors.is_empty(), "{errors:?}");
    pod
}

#[test]
fn one_is_added_with_defaults_and_counts_as_a_change() {
    let pod = debugged();
    assert_eq!(generation(&pod), 2);
    assert_eq!(
        pod["spec"]["ephemeralContainers"],
        json!([{
            "name": "d", "image": "busybox", "targetContainerName": "c", "imagePullPolicy": "Always", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        }])
    );
    // Other changes of the pod are as they were without it.
    let (labelled, errors) = changed(&pod, Part::Main, |p| p["metadata"]["labels"] = json!({ "a": "b" }));
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(generation(&labelled), 2);
}

#[test]
fn nothing_else_changes_with_it() {
    let old = debugged();
    let (new, errors) = changed(&old, Part::EphemeralContainers, |p| {
        p["metadata"]["labels"] = json!({ "a": "b" });
        p["spec"]["containers"][0]["image"] = "other".into();
        p["status"] = json!({ "phase": "Failed" });
    });
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(new, old);
}

#[test]
fn those_that_are_there_stay_as_they_are() {
    let old = debugged();
    let (_, errors) = changed(&old, Part::EphemeralContainers, |p| {
        p["spec"].as_object_mut().unwrap().remove("ephemeralContainers");
    });
    assert_eq!(
        errors,
        ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"]
    );
    let (_, errors) = changed(&old, Part::EphemeralContainers, |p| {
        p["spec"]["ephemeralContainers"][0]["image"] = "other".into();
    });
    assert_eq!(
        errors,
        [
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\nchanged: spec.ephemeralContainers[0].image"
        ]
    );
    let (_, errors) = changed(&old, Part::Main, |p| p["spec"]["ephemeralContainers"] = json!([]));
    assert!(errors[0].starts_with("spec: Forbidden: pod updates may not change fields"), "{errors:?}");
    let (same, errors) = changed(&old, Part::EphemeralContainers, |p| {
        let container = json!({ "name": "d", "image": "busybox", "targetContainerName": "c" });
        p["spec"]["ephemeralContainers"] = json!([container]);
    });
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(generation(&same), generation(&old));
}

#[test]
fn every_mistake_is_named_by_its_path() {
    let old = debugged();
    let refused = |field: &str| format!("{field}: Forbidden: cannot be set for an Ephemeral Container");
    let probe = json!({ "exec": { "command": ["x"] } });
    let cases = [
        (json!({ "name": "c", "image": "i" }), "name: Duplicate value: \"c\"".to_owned()),
        (json!({ "name": "i", "image": "i" }), "name: Duplicate value: \"i\"".to_owned()),
        (json!({ "name": "d", "image": "busybox" }), "name: Duplicate value: \"d\"".to_owned()),
        (json!({ "name": "e" }), "image: Required value".to_owned()),
        (
            json!({ "name": "e", "image": "i", "targetContainerName": "d" }),
            "targetContainerName: Not found: \"d\"".to_owned(),
        ),
        (json!({ "name": "e", "image": "i", "ports": [{ "containerPort": 1 }] }), refused("ports")),
        (
            json!({ "name": "e", "image": "i", "resources": { "limits": { "cpu": "1" } } }),
            refused("resources"),
        ),
        (json!({ "name": "e", "image": "i", "livenessProbe": probe }), refused("livenessProbe")),
        (json!({ "name": "e", "image": "i", "lifecycle": { "preStop": probe } }), refused("lifecycle")),
        (json!({ "name": "e", "image": "i", "restartPolicy": "Always" }), refused("restartPolicy")),
    ];
    for (container, expected) in cases {
        let (_, errors) = added(&old, container.clone());
        let expected = format!("spec.ephemeralContainers[1].{expected}");
        assert!(errors.contains(&expected), "{container}: {errors:?}");
    }
}

#[test]
fn none_comes_with_a_new_pod_and_none_to_one_from_a_file() {
    let container = json!([{ "name": "d", "image": "i" }]);
    assert_eq!(
        wrong(|p| p["spec"]["ephemeralContainers"] = container.clone()),
        ["spec.ephemeralContainers: Forbidden: cannot be set on create"]
    );
    let mirror =
        admitted(|p| p["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" })).unwrap();
    let (_, errors) = added(&mirror, container[0].clone());
    assert_eq!(errors, ["[]: Forbidden: static pods do not support ephemeral containers"]);
}
