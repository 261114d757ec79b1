//! What a pod may be, what it becomes, and what may change.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::PODS;
use crate::kinds::{AdmissionError, Cluster, Kind, Part};

mod ephemeral;
mod lifecycle;
mod resize;
mod status;

/// A cluster of a few priority and runtime classes, and a node.
struct Classes;

impl Cluster for Classes {
    fn get(&self, kind: &Kind, _: &str, name: &str) -> Option<Arc<Value>> {
        self.list(kind).into_iter().find(|o| o["metadata"]["name"] == name)
    }

    fn list(&self, kind: &Kind) -> Vec<Arc<Value>> {
        let objects = match kind.plural {
            "priorityclasses" => vec![
                json!({ "metadata": { "name": "high" }, "value": 1000, "preemptionPolicy": "Never" }),
                json!({ "metadata": { "name": "usual" }, "value": 5, "globalDefault": true }),
            ],
            "runtimeclasses" => vec![json!({
                "metadata": { "name": "vm" },
                "overhead": { "podFixed": { "cpu": "250m" } },
                "scheduling": { "nodeSelector": { "vm": "yes" } },
            })],
            "nodes" => vec![json!({
                "metadata": { "name": "n", "labels": { "kubernetes.io/os": "linux" } },
                "status": { "allocatable": { "cpu": "3500m", "memory": "1Gi" } },
            })],
            "serviceaccounts" => {
                vec![json!({ "metadata": { "name": "default" }, "automountServiceAccountToken": false })]
            }
            _ => Vec::new(),
        };
        objects.into_iter().map(Arc::new).collect()
    }

    fn service_range(&self) -> (Ipv4Addr, u8) {
        ([10, 96, 0, 0].into(), 16)
    }
}

fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "p", "namespace": "default" },
        "spec": { "containers": [{ "name": "c", "image": "busybox:1" }] },
    });
    change(&mut pod);
    pod
}

/// As a create would make it.
fn admitted(change: impl FnOnce(&mut Value)) -> Result<Value, AdmissionError> {
    let mut pod = pod(change);
    PODS.check(&mut pod).unwrap();
    PODS.prepare_create(&mut pod);
    PODS.defaults(&mut pod);
    PODS.admit_create(&mut pod, &Classes)?;
    Ok(pod)
}

/// What is wrong with a new pod, as `path: detail`.
fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let pod = admitted(change).unwrap();
    PODS.validate_create(&pod).iter().map(ToString::to_string).collect()
}

#[test]
fn a_plain_pod_gets_upstreams_defaults_and_is_valid() {
    let pod = admitted(|_| ()).unwrap();
    assert!(PODS.validate_create(&pod).is_empty());
    let spec = &pod["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["terminationGracePeriodSeconds"], 30);
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!((&spec["priority"], &spec["priorityClassName"]), (&json!(5), &json!("usual")));
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(pod["status"], json!({ "phase": "Pending", "qosClass": "BestEffort" }));
    let mut again = pod.clone();
    PODS.defaults(&mut again);
    assert_eq!(again, pod);
}

#[test]
fn every_mistake_is_named_by_its_path() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (|p| p["spec"]["containers"] = json!([]), "spec.containers: Required value"),
        (
            |p| p["spec"]["containers"][0]["name"] = "A_".into(),
            "spec.containers[0].name: Invalid value: \"A_\"",
        ),
        (|p| p["spec"]["containers"][0]["image"] = "".into(), "spec.containers[0].image: Required value"),
        (
            |p| p["spec"]["initContainers"] = json!([{ "name": "c", "image": "i" }]),
            "spec.initContainers[0].name: Duplicate value: \"c\"",
        ),
        (
            |p| p["spec"]["restartPolicy"] = "X".into(),
            "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            |p| {
                p["spec"]["containers"][0]["resources"] =
                    json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "1" } })
            },
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            |p| p["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            |p| p["spec"]["containers"][0]["livenessProbe"] = json!({ "periodSeconds": 1 }),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            |p| p["spec"]["tolerations"] = json!([{ "operator": "Exists", "value": "v" }]),
            "spec.tolerations[0].operator: Invalid value",
        ),
        (|p| p["metadata"]["labels"] = json!({ "a b": "c" }), "metadata.labels: Invalid value: \"a b\""),
        (|p| p["metadata"]["name"] = "P".into(), "metadata.name: Invalid value: \"P\""),
    ];
    for (change, expected) in cases {
        let found = wrong(change);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:?}");
    }
}

#[test]
fn classes_decide_priority_and_overhead() {
    let pod = admitted(|p| {
        p["spec"]["priorityClassName"] = "high".into();
        p["spec"]["runtimeClassName"] = "vm".into();
    })
    .unwrap();
    let spec = &pod["spec"];
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(1000), &json!("Never")));
    assert_eq!((&spec["overhead"]["cpu"], &spec["nodeSelector"]["vm"]), (&json!("250m"), &json!("yes")));
    let refused = |change: fn(&mut Value)| admitted(change).unwrap_err().to_string();
    assert_eq!(
        refused(|p| p["spec"]["priorityClassName"] = "none".into()),
        "no PriorityClass with name none was found"
    );
    assert_eq!(
        refused(|p| p["spec"]["runtimeClassName"] = "none".into()),
        "pod rejected: RuntimeClass \"none\" not found"
    );
    assert!(refused(|p| p["spec"]["priority"] = 7.into()).contains("must not be provided in pod spec"));
}

/// What becomes of a pod by a change of one part, and what is wrong with it.
fn changed(old: &Value, part: Part, change: impl FnOnce(&mut Value)) -> (Value, Vec<String>) {
    let mut new = old.clone();
    change(&mut new);
    PODS.check(&mut new).unwrap();
    PODS.prepare_update(&mut new, old, part);
    let errors = PODS.validate_update(&new, old, part).iter().map(ToString::to_string).collect();
    (new, errors)
}

/// What is wrong with a change of a pod that exists.
fn update(change: impl FnOnce(&mut Value)) -> Vec<String> {
    changed(&admitted(|_| ()).unwrap(), Part::Main, change).1
}

fn generation(pod: &Value) -> i64 {
    pod["metadata"]["generation"].as_i64().unwrap()
}

#[test]
fn image_labels_and_more_tolerations_may_change_and_nothing_else() {
    let allowed = update(|p| {
        p["spec"]["containers"][0]["image"] = "busybox:2".into();
        p["metadata"]["labels"] = json!({ "a": "b" });
        p["spec"]["activeDeadlineSeconds"] = 60.into();
        p["spec"]["tolerations"].as_array_mut().unwrap().push(json!({ "key": "k", "operator": "Exists" }));
    });
    assert!(allowed.is_empty(), "{allowed:?}");
    let refused = update(|p| {
        p["spec"]["containers"][0]["args"] = json!(["x"]);
        p["spec"]["nodeName"] = "n".into();
    });
    assert!(
        refused.len() == 1
            && refused[0].starts_with("spec: Forbidden: pod updates may not change fields other than")
            && refused[0].ends_with("changed: spec.containers[0].args, spec.nodeName"),
        "{refused:?}"
    );
    let more = update(|p| {
        p["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "d", "image": "i" }))
    });
    assert_eq!(more, ["spec.containers: Forbidden: pod updates may not add or remove containers"]);
}

#[test]
fn a_manifest_that_leaves_out_what_admission_added_may_replace_the_pod() {
    let unchanged = update(|p| {
        for field in ["priority", "preemptionPolicy", "tolerations"] {
            p["spec"].as_object_mut().unwrap().remove(field);
        }
    });
    assert!(unchanged.is_empty(), "{unchanged:?}");
    let old = admitted(|_| ()).unwrap();
    let (new, _) = changed(&old, Part::Main, |p| {
        p["spec"].as_object_mut().unwrap().remove("dnsPolicy");
    });
    assert_eq!(generation(&new), generation(&old), "nothing has changed");
}

#[test]
fn no_tree_makes_the_rules_panic() {
    // Every field of a pod with everything in it takes every wrong type in turn; what the schema lets through meets all rules.
    let full = pod(|p| {
        p["spec"] = json!({
            "containers": [{
                "name": "c", "image": "i", "ports": [{ "containerPort": 1 }], "env": [{ "name": "A", "value": "b" }],
                "resources": { "requests": { "cpu": "1" }, "limits": { "cpu": "1" } },
                "livenessProbe": { "httpGet": { "port": "http", "path": "/" } },
                "lifecycle": { "preStop": { "exec": { "command": ["x"] } }, "postStart": { "sleep": { "seconds": 1 } } },
                "resizePolicy": [{ "resourceName": "cpu", "restartPolicy": "NotRequired" }],
                "restartPolicy": "Never", "restartPolicyRules": [{ "action": "Restart", "exitCodes": { "operator": "In", "values": [1] } }],
                "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
                "securityContext": { "runAsUser": 1, "capabilities": { "add": ["X"] } },
            }],
            "initContainers": [{ "name": "d", "image": "i", "restartPolicy": "Always" }],
            "ephemeralContainers": [{ "name": "e", "image": "i", "targetContainerName": "c" }],
            "resources": { "requests": { "cpu": "1" } },
            "nodeName": "n",
            "volumes": [{ "name": "v", "emptyDir": { "sizeLimit": "1Gi" } }],
            "tolerations": [{ "key": "k", "operator": "Exists" }],
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{}] } } },
            "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "t", "whenUnsatisfiable": "DoNotSchedule" }],
            "dnsConfig": { "nameservers": ["1.1.1.1"] }, "hostAliases": [{ "ip": "1.1.1.1" }],
        });
        p["status"] =
            json!({ "containerStatuses": [{ "name": "c", "state": { "terminated": { "exitCode": 1 } } }] });
    });
    let wrong = [
        json!(null),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!("\u{0}é"),
        json!([]),
        json!([null]),
        json!({}),
        json!(true),
    ];
    let mut pointers = Vec::new();
    collect(&full, String::new(), &mut pointers);
    for pointer in pointers {
        for value in &wrong {
            let mut pod = full.clone();
            *pod.pointer_mut(&pointer).unwrap() = value.clone();
            if PODS.check(&mut pod).is_err() {
                continue;
            }
            let old = pod.clone();
            PODS.prepare_create(&mut pod);
            PODS.defaults(&mut pod);
            let _ = PODS.admit_create(&mut pod, &Classes);
            PODS.validate_create(&pod);
            for part in [Part::Main, Part::Status, Part::EphemeralContainers, Part::Resize] {
                for (old, new) in [(&full, &old), (&old, &full)] {
                    let mut new = new.clone();
                    PODS.prepare_update(&mut new, old, part);
                    PODS.validate_update(&new, old, part);
                    let _ = PODS.permit_update(&new, old, part, &Classes);
                }
            }
        }
    }
}

fn collect(value: &Value, at: String, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(k, v)| collect(v, format!("{at}/{k}"), into)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| collect(v, format!("{at}/{i}"), into))
        }
        _ => {}
    }
    if !at.is_empty() {
        into.push(at);
    }
}
