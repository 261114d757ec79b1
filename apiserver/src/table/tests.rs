//! What `kubectl get` shows.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Include, table};
use crate::kinds::Kind;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::services::SERVICES;

fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().unwrap()
}

fn row(kind: &Kind, object: &Value) -> Vec<Value> {
    let table = table(kind, [object], json!({}), Include::None, true, now());
    let cells = table["rows"][0]["cells"].as_array().unwrap().clone();
    assert_eq!(cells.len(), table["columnDefinitions"].as_array().unwrap().len());
    cells
}

/// Ready, status and restarts of a pod with these containers, as `{"name": status}`.
fn pod(spec: &Value, status: Value) -> String {
    let pod = json!({ "metadata": { "name": "p" }, "spec": spec, "status": status });
    let cells = row(&PODS, &pod);
    cells[1..4].iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_status_of_a_pod_is_the_worst_that_there_is_to_tell() {
    let two = json!({ "containers": [{ "name": "a" }, { "name": "b" }] });
    let state = |name: &str, ready: bool, state: Value| json!({ "name": name, "ready": ready, "restartCount": 0, "state": state });
    let running = || json!({ "running": {} });
    let ended = |reason: &str, code: i64| json!({ "terminated": { "reason": reason, "exitCode": code } });
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    let with = |phase: &str, statuses: Value| json!({ "phase": phase, "containerStatuses": statuses });
    let cases = [
        (with("Pending", json!([])), "0/2 Pending 0"),
        (with("Running", json!([state("a", true, running()), state("b", true, running())])), "2/2 Running 0"),
        (
            with("Running", json!([state("a", true, running()), state("b", false, waiting)])),
            "1/2 CrashLoopBackOff 0",
        ),
        (
            with("Running", json!([state("a", true, running()), state("b", false, ended("Completed", 0))])),
            "1/2 NotReady 0",
        ),
        (
            with(
                "Succeeded",
                json!([state("a", false, ended("Completed", 0)), state("b", false, ended("Completed", 0))]),
            ),
            "0/2 Completed 0",
        ),
        (
            with(
                "Failed",
                json!([state("a", false, ended("", 3)), state("b", false, ended("Completed", 0))]),
            ),
            "0/2 ExitCode:3 0",
        ),
        (
            with("Failed", json!([state("a", false, json!({ "terminated": { "signal": 9 } }))])),
            "0/2 Signal:9 0",
        ),
        (json!({ "phase": "Failed", "reason": "Evicted" }), "0/2 Evicted 0"),
    ];
    for (status, expected) in cases {
        assert_eq!(pod(&two, status.clone()), expected, "{status}");
    }
}

#[test]
fn init_containers_count_up_and_sidecars_belong_to_the_containers() {
    let spec = json!({
        "initContainers": [{ "name": "i" }, { "name": "s", "restartPolicy": "Always" }],
        "containers": [{ "name": "a" }],
    });
    let init = |first: Value, started: bool| {
        json!({ "phase": "Pending", "initContainerStatuses": [
            { "name": "i", "restartCount": 2, "state": first },
            { "name": "s", "started": started, "ready": started, "state": { "running": {} } },
        ] })
    };
    let done = json!({ "terminated": { "exitCode": 0 } });
    assert_eq!(pod(&spec, init(json!({ "running": {} }), false)), "0/2 Init:0/2 2");
    assert_eq!(
        pod(&spec, init(json!({ "terminated": { "exitCode": 1, "reason": "Error" } }), false)),
        "0/2 Init:Error 2"
    );
    assert_eq!(
        pod(&spec, init(json!({ "waiting": { "reason": "ErrImagePull" } }), false)),
        "0/2 Init:ErrImagePull 2"
    );
    assert_eq!(pod(&spec, init(done.clone(), false)), "0/2 Init:1/2 2");
    assert_eq!(pod(&spec, init(done, true)), "1/2 Pending 0");
}

#[test]
fn a_pod_that_is_being_deleted_is_terminating_until_it_has_ended() {
    let shown = |phase: &str| {
        let metadata = json!({ "name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let pod = json!({ "metadata": metadata, "spec": { "containers": [] }, "status": { "phase": phase } });
        row(&PODS, &pod)[2].clone()
    };
    assert_eq!((shown("Running"), shown("Failed")), (json!("Terminating"), json!("Failed")));
}

#[test]
fn restarts_tell_when_the_last_one_was() {
    let status = json!({ "phase": "Running", "containerStatuses": [
        { "name": "a", "ready": true, "restartCount": 3, "state": { "running": {} },
          "lastState": { "terminated": { "finishedAt": "2026-01-01T23:55:00Z" } } },
    ] });
    assert_eq!(pod(&json!({ "containers": [{ "name": "a" }] }), status), "1/1 Running 3 (5m ago)");
}

#[test]
fn a_node_shows_readiness_cordon_and_roles() {
    let node = json!({
        "metadata": { "name": "n", "creationTimestamp": "2026-01-01T00:00:00Z",
                      "labels": { "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/gpu": "" } },
        "spec": { "unschedulable": true },
        "status": {
            "conditions": [{ "type": "Ready", "status": "Unknown" }],
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }],
            "nodeInfo": { "kubeletVersion": "v1.36.2" },
        },
    });
    let cells = row(&NODES, &node);
    let expected = ["n", "NotReady,SchedulingDisabled", "gpu,worker", "24h", "v1.36.2", "10.0.0.1", "<none>"];
    assert_eq!(cells[..7], expected.map(Value::from));
}

#[test]
fn a_service_shows_its_addresses_and_ports() {
    let service =
        |spec: Value| row(&SERVICES, &json!({ "metadata": { "name": "s" }, "spec": spec }))[1..5].to_vec();
    let ports =
        json!([{ "port": 80, "protocol": "TCP", "nodePort": 30000 }, { "port": 53, "protocol": "UDP" }]);
    assert_eq!(
        service(json!({ "type": "LoadBalancer", "clusterIP": "10.96.0.9", "ports": ports })),
        ["LoadBalancer", "10.96.0.9", "<pending>", "80:30000/TCP,53/UDP"].map(Value::from)
    );
    assert_eq!(
        service(json!({ "type": "ExternalName", "externalName": "a.b" })),
        ["ExternalName", "<none>", "a.b", "<none>"].map(Value::from)
    );
}

#[test]
fn ages_are_in_the_one_or_two_units_that_matter() {
    let cases = [
        (-5, "<invalid>"),
        (-1, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (700, "11m"),
        (10_800, "3h"),
        (11_100, "3h5m"),
        (90_000, "25h"),
        (180_000, "2d2h"),
        (800_000, "9d"),
        (70_000_000, "2y80d"),
        (400_000_000, "12y"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(podspec::human_duration(seconds), expected, "{seconds}");
    }
}

#[test]
fn no_object_makes_a_table_panic() {
    bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(choice, bytes)| {
        let Ok(object) = serde_json::from_slice::<Value>(bytes) else { return };
        let kinds = crate::kinds::all();
        let kind = kinds[usize::from(*choice) % kinds.len()];
        table(kind, [&object], json!({}), Include::Metadata, true, now());
    });
    // Fields of every wrong type, which the random bytes above seldom are.
    for wrong in [json!(null), json!(1), json!("x"), json!([null, 1, "x", {}]), json!({ "x": 1 })] {
        for part in ["metadata", "spec", "status", "data"] {
            let object = json!({ part: wrong.clone() });
            for kind in crate::kinds::all() {
                table(kind, [&object], json!({}), Include::Object, true, now());
            }
        }
    }
}
