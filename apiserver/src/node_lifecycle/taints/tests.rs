//! Taints follow conditions, and others stay.

use super::*;

fn node(conditions: &[(&str, &str)], taints: Value) -> Value {
    let conditions: Vec<Value> =
        conditions.iter().map(|(kind, status)| json!({ "type": kind, "status": status })).collect();
    json!({ "spec": { "taints": taints }, "status": { "conditions": conditions } })
}

/// Keys and effects after the taints have followed.
fn followed(mut node: Value, evicting: Evicting) -> Vec<String> {
    let before = node.clone();
    let changed = follow(&mut node, evicting, "2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(changed, taints(&before) != taints(&node));
    let again = follow(&mut node.clone(), evicting, "2026-01-02T00:00:00Z".parse().unwrap());
    assert!(!again, "it is settled: {node}");
    taints(&node)
        .iter()
        .map(|t| format!("{}:{}", string(t, "key").rsplit('/').next().unwrap(), string(t, "effect")))
        .collect()
}

#[test]
fn conditions_keep_new_pods_away() {
    let own = json!([{ "key": "example.com/mine", "effect": "NoSchedule" }]);
    assert_eq!(followed(node(&[("Ready", "True")], own.clone()), Evicting::NotYet), ["mine:NoSchedule"]);
    let pressed = node(&[("Ready", "True"), ("MemoryPressure", "True"), ("DiskPressure", "False")], own);
    assert_eq!(followed(pressed, Evicting::NotYet), ["mine:NoSchedule", "memory-pressure:NoSchedule"]);
    let relieved = json!([{ "key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule" }]);
    assert_eq!(
        followed(node(&[("DiskPressure", "False")], relieved), Evicting::NotYet),
        Vec::<String>::new()
    );
    let mut cordoned = node(&[("Ready", "True")], json!([]));
    cordoned["spec"]["unschedulable"] = true.into();
    assert_eq!(followed(cordoned, Evicting::NotYet), ["unschedulable:NoSchedule"]);
}

#[test]
fn pods_are_taken_off_when_it_is_the_nodes_turn() {
    let unknown = || node(&[("Ready", "Unknown")], json!([]));
    assert_eq!(followed(unknown(), Evicting::NotYet), ["unreachable:NoSchedule"]);
    assert_eq!(followed(unknown(), Evicting::Now), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    let evicted = |status: &str, evicting: Evicting| {
        let taint = |effect: &str| json!({ "key": UNREACHABLE, "effect": effect, "timeAdded": "x" });
        followed(node(&[("Ready", status)], json!([taint(NO_SCHEDULE), taint(NO_EXECUTE)])), evicting)
    };
    assert_eq!(evicted("Unknown", Evicting::NotYet), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    assert_eq!(evicted("False", Evicting::NotYet), ["not-ready:NoSchedule", "not-ready:NoExecute"]);
    assert_eq!(evicted("True", Evicting::NotYet), Vec::<String>::new());
    assert_eq!(evicted("Unknown", Evicting::Never), ["unreachable:NoSchedule"]);
    // Somebody else's taint of this effect is not this controller's.
    let other = json!([{ "key": "example.com/maintenance", "effect": "NoExecute" }]);
    assert_eq!(followed(node(&[("Ready", "True")], other), Evicting::Never), ["maintenance:NoExecute"]);
}

#[test]
fn a_taint_says_since_when_it_is_there() {
    let mut node = node(&[("Ready", "False")], json!([]));
    follow(&mut node, Evicting::Now, "2026-01-01T00:00:00Z".parse().unwrap());
    let expected =
        |effect: &str| json!({ "key": NOT_READY, "effect": effect, "timeAdded": "2026-01-01T00:00:00Z" });
    assert_eq!(node["spec"]["taints"], json!([expected(NO_SCHEDULE), expected(NO_EXECUTE)]));
    node["status"]["conditions"][0]["status"] = "True".into();
    follow(&mut node, Evicting::Now, "2026-01-02T00:00:00Z".parse().unwrap());
    assert_eq!(node["spec"].get("taints"), None);
}
