//! What is said of a silent node, in upstream's words.

use super::*;

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn condition_of(node: &Value, kind: &str) -> Value {
    condition(node, kind).cloned().unwrap_or_default()
}

#[test]
fn a_node_that_stops_speaking_is_unknown_and_keeps_its_last_word() {
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "KubeletReady", "message": "fine",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2025-01-01T00:00:00Z",
        })
    };
    let mut node = json!({
        "metadata": { "creationTimestamp": "2025-01-01T00:00:00Z" },
        "status": { "conditions": [condition("Ready", "True"), condition("DiskPressure", "False"), condition("Other", "True")] },
    });
    assert!(silence(&mut node, at("2026-01-01T00:01:00Z")));
    let expected = json!({
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:01:00Z",
    });
    assert_eq!(condition_of(&node, "Ready"), expected);
    assert_eq!(condition_of(&node, "DiskPressure")["status"], "Unknown");
    assert_eq!(condition_of(&node, "Other"), condition("Other", "True"));
    let never = json!({
        "type": "MemoryPressure", "status": "Unknown", "reason": "NodeStatusNeverUpdated",
        "message": "Kubelet never posted node status.",
        "lastHeartbeatTime": "2025-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:01:00Z",
    });
    assert_eq!(condition_of(&node, "MemoryPressure"), never);
    assert!(!silence(&mut node, at("2026-01-01T00:02:00Z")), "said once");
}

#[test]
fn a_pod_of_a_silent_node_is_not_ready() {
    let mut pod = json!({ "status": { "conditions": [
        { "type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z" },
        { "type": "Initialized", "status": "True" },
    ] } });
    assert!(set_not_ready(&mut pod, at("2026-01-01T00:00:00Z")));
    let expected =
        json!({ "type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    assert_eq!(pod["status"]["conditions"][0], expected);
    assert_eq!(pod["status"]["conditions"][1]["status"], "True");
    assert!(!set_not_ready(&mut pod, at("2026-01-01T00:00:01Z")));
    assert!(!set_not_ready(&mut json!({}), at("2026-01-01T00:00:01Z")));
}

#[test]
fn a_summary_knows_whether_something_is_to_be_written() {
    let node = |ready: &str, taints: Value| {
        let conditions = json!([{ "type": "Ready", "status": ready, "lastHeartbeatTime": "x" }]);
        let labels = json!({ "topology.kubernetes.io/zone": "z" });
        json!({ "metadata": { "labels": labels }, "spec": { "taints": taints }, "status": { "conditions": conditions } })
    };
    let fine = Summary::of(&node("True", json!([])));
    assert!(Evicting::ALL.iter().all(|way| fine.is_settled(*way)));
    assert_eq!((fine.standing().zone, fine.standing().ready, fine.heartbeat.as_str()), (":z", true, "x"));
    assert!(!Summary::of(&node("Unknown", json!([]))).is_settled(Evicting::NotYet));
    let unreachable = |effect: &str| json!({ "key": "node.kubernetes.io/unreachable", "effect": effect });
    let waiting = Summary::of(&node("Unknown", json!([unreachable("NoSchedule")])));
    assert!(waiting.is_settled(Evicting::NotYet) && !waiting.is_settled(Evicting::Now));
    let both = Summary::of(&node("Unknown", json!([unreachable("NoSchedule"), unreachable("NoExecute")])));
    assert!(both.standing().given_up && both.is_settled(Evicting::Now) && !both.is_settled(Evicting::Never));
    assert!(!Summary::of(&json!({})).has_spoken());
}
