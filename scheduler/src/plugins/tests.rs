use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::*;
use crate::pod::{PodInfo, Standing};

fn node(value: Value) -> NodeInfo {
    let mut whole = json!({
        "metadata": {"name": "n1"},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "10Gi", "pods": "110"}},
    });
    json_merge(&mut whole, value);
    NodeInfo::of(&serde_json::from_value::<Node>(whole).expect("a node"))
}

fn json_merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                json_merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn pod(spec: Value) -> (Wish, Load) {
    let mut whole =
        json!({"metadata": {"uid": "u", "name": "p", "namespace": "ns"}, "spec": {"containers": []}});
    json_merge(&mut whole["spec"], spec);
    let info = PodInfo::of(&serde_json::from_value::<Pod>(whole).expect("a pod"));
    let Standing::Waiting(wish) = info.standing else { panic!("it has no node") };
    (*wish, info.load)
}

/// What objects to the pod, and how.
fn objections(spec: Value, node: &NodeInfo, usage: &Usage) -> Option<(&'static str, Vec<Reason>)> {
    let (wish, load) = pod(spec);
    let candidate = Candidate { wish: &wish, load: &load, volumes: &PodVolumes::NONE };
    let target = Target { node, usage };
    FILTERS.iter().map(|f| (f.name, (f.filter)(candidate, target))).find(|(_, reasons)| !reasons.is_empty())
}

fn fits(spec: Value, node: &NodeInfo) -> bool {
    objections(spec, node, &Usage::default()).is_none()
}

fn requesting(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

#[test]
fn a_cordoned_node_takes_only_pods_that_tolerate_it() {
    let cordoned = node(json!({"spec": {"unschedulable": true}}));
    let (plugin, reasons) = objections(json!({}), &cordoned, &Usage::default()).expect("an objection");
    assert_eq!((plugin, &*reasons[0]), ("NodeUnschedulable", "node(s) were unschedulable"));
    let tolerating =
        json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]});
    assert!(fits(tolerating, &cordoned));
}

#[test]
fn a_taint_keeps_away_what_does_not_tolerate_key_value_and_effect() {
    let taint =
        |effect: &str| node(json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}}));
    let tolerating = |t: Value| json!({"tolerations": [t]});
    for (toleration, tolerated) in [
        (json!({"key": "k", "value": "v"}), true),
        (json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}), true),
        (json!({"key": "k", "operator": "Equal", "value": "w"}), false),
        (json!({"key": "k", "operator": "Exists"}), true),
        (json!({"operator": "Exists"}), true),
        (json!({"key": "j", "operator": "Exists"}), false),
        (json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), false),
        (json!({"value": "v"}), false),
        (json!({"key": "k", "operator": "Gt", "value": "1"}), false),
    ] {
        assert_eq!(fits(tolerating(toleration.clone()), &taint("NoSchedule")), tolerated, "{toleration}");
    }
    assert!(!fits(json!({}), &taint("NoExecute")));
    assert!(fits(json!({}), &taint("PreferNoSchedule")));
}

#[test]
fn a_node_that_is_not_ready_takes_no_pods_though_nobody_tainted_it() {
    let ready = |status: &str| node(json!({"status": {"conditions": [{"type": "Ready", "status": status}]}}));
    assert!(fits(json!({}), &ready("True")));
    let (_, reasons) = objections(json!({}), &ready("False"), &Usage::default()).expect("an objection");
    assert_eq!(reasons, ["node(s) had untolerated taint(s)"]);
    assert!(!fits(json!({}), &ready("Unknown")));
    let tolerating = json!({"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]});
    assert!(fits(tolerating, &ready("False")));
}

#[test]
fn a_node_short_of_memory_takes_no_best_effort_pods() {
    let short = node(json!({"status": {"conditions": [{"type": "MemoryPressure", "status": "True"}]}}));
    assert!(!fits(json!({"containers": [{"name": "c"}]}), &short));
    assert!(fits(requesting(json!({"cpu": "1m"})), &short));
}

#[test]
fn labels_are_matched_by_every_operator() {
    let node = node(json!({"metadata": {"labels": {"zone": "a", "cores": "8", "word": "x"}}}));
    for (key, operator, values, matches) in [
        ("zone", "In", json!(["b", "a"]), true),
        ("zone", "In", json!(["b"]), false),
        ("none", "In", json!(["a"]), false),
        ("zone", "NotIn", json!(["b"]), true),
        ("zone", "NotIn", json!(["a"]), false),
        ("none", "NotIn", json!(["a"]), true),
        ("zone", "Exists", json!([]), true),
        ("none", "Exists", json!([]), false),
        ("none", "DoesNotExist", json!([]), true),
        ("zone", "DoesNotExist", json!([]), false),
        ("cores", "Gt", json!(["7"]), true),
        ("cores", "Gt", json!(["8"]), false),
        ("cores", "Lt", json!(["9"]), true),
        ("cores", "Lt", json!(["8"]), false),
        ("word", "Gt", json!(["1"]), false),
        ("none", "Lt", json!(["1"]), false),
        ("cores", "Gt", json!(["1", "2"]), false),
        ("zone", "Like", json!(["a"]), false),
    ] {
        let term = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        assert_eq!(fits(required(json!([term])), &node), matches, "{key} {operator} {values}");
    }
}

fn required(terms: Value) -> Value {
    json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

#[test]
fn one_term_must_hold_as_a_whole_and_the_selector_besides() {
    let node = node(json!({"metadata": {"labels": {"zone": "a"}}}));
    let a = json!({"key": "zone", "operator": "In", "values": ["a"]});
    let b = json!({"key": "zone", "operator": "In", "values": ["b"]});
    assert!(fits(required(json!([{"matchExpressions": [b]}, {"matchExpressions": [a]}])), &node));
    assert!(!fits(required(json!([{"matchExpressions": [a, b]}])), &node));
    assert!(!fits(required(json!([{}])), &node), "an empty term matches nothing");
    assert!(fits(json!({"nodeSelector": {"zone": "a"}}), &node));
    let name =
        |name: &str| json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]);
    assert!(fits(required(name("n1")), &node));
    assert!(!fits(required(name("n2")), &node));
    let mut both = required(json!([{"matchExpressions": [a]}]));
    both["nodeSelector"] = json!({"zone": "b"});
    let (_, reasons) = objections(both, &node, &Usage::default()).expect("an objection");
    assert_eq!(reasons, ["node(s) didn't match Pod's node affinity/selector"]);
}

#[test]
fn a_port_of_the_node_is_had_once() {
    let node = node(json!({}));
    let with_port = |port: u16| json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": port}]}]});
    let mut usage = Usage::default();
    usage.add(&pod(with_port(8080)).1);
    let (_, reasons) = objections(with_port(8080), &node, &usage).expect("an objection");
    assert_eq!(reasons, ["node(s) didn't have free ports for the requested pod ports"]);
    assert!(objections(with_port(8081), &node, &usage).is_none());
    usage.remove(&pod(with_port(8080)).1);
    assert!(objections(with_port(8080), &node, &usage).is_none());
}

#[test]
fn all_resources_that_are_short_are_told() {
    let node = node(json!({"status": {"allocatable": {"pods": "1", "example.com/gpu": "1"}}}));
    assert!(fits(requesting(json!({"cpu": "2", "memory": "4Gi", "example.com/gpu": "1"})), &node));
    let mut usage = Usage::default();
    usage.add(&pod(requesting(json!({"cpu": "1"}))).1);
    let much = requesting(
        json!({"cpu": "1001m", "memory": "5Gi", "example.com/gpu": "2", "ephemeral-storage": "11Gi"}),
    );
    let (_, reasons) = objections(much, &node, &usage).expect("an objection");
    let expected = [
        "Too many pods",
        "Insufficient cpu",
        "Insufficient memory",
        "Insufficient ephemeral-storage",
        "Insufficient example.com/gpu",
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn a_pod_that_asks_for_nothing_fits_on_an_over_committed_node() {
    let node = node(json!({}));
    let mut usage = Usage::default();
    usage.add(&pod(requesting(json!({"cpu": "3", "memory": "9Gi"}))).1);
    assert!(objections(json!({"containers": [{"name": "c"}]}), &node, &usage).is_none());
}

#[test]
fn scores_become_0_to_100() {
    let normalized = |normalize: Normalize, mut scores: Vec<i64>| {
        normalize.apply(&mut scores);
        scores
    };
    assert_eq!(normalized(Normalize::ToHighest, vec![0, 5, 10]), [0, 50, 100]);
    assert_eq!(normalized(Normalize::ToHighest, vec![0, 0]), [0, 0]);
    assert_eq!(normalized(Normalize::Reversed, vec![0, 1, 2]), [100, 50, 0]);
    assert_eq!(normalized(Normalize::Reversed, vec![0, 0]), [100, 100]);
    assert_eq!(normalized(Normalize::Not, vec![7]), [7]);
}
