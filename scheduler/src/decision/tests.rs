use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::pod::{PodInfo, Standing};
use crate::storage::PodVolumes;

fn node(name: &str, cpu: &str, spec: Value) -> (NodeInfo, Usage) {
    let value = json!({
        "metadata": {"name": name},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
    });
    (NodeInfo::of(&serde_json::from_value::<Node>(value).expect("a node")), Usage::default())
}

fn pod(spec: Value) -> PodInfo {
    PodInfo::of(
        &serde_json::from_value::<Pod>(json!({"metadata": {"uid": "u"}, "spec": spec})).expect("a pod"),
    )
}

fn with_cpu(cpu: &str) -> PodInfo {
    pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}))
}

fn decided(pod: &PodInfo, nodes: &[(NodeInfo, Usage)], rotation: usize) -> Decision {
    let Standing::Waiting(wish) = &pod.standing else { panic!("it has no node") };
    decide(
        Candidate { wish, load: &pod.load, volumes: &PodVolumes::NONE },
        nodes.iter().map(|(n, u)| (n, u)),
        rotation,
    )
}

fn message(pod: &PodInfo, nodes: &[(NodeInfo, Usage)]) -> String {
    match decided(pod, nodes, 0) {
        Decision::Nowhere(unfit) => unfit.message,
        Decision::Fits(node) => panic!("fits on {node}"),
    }
}

#[test]
fn the_message_counts_reasons_as_upstream_words_and_sorts_them() {
    let tainted = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    let small = node("a", "1", json!({}));
    assert_eq!(
        message(&with_cpu("4"), std::slice::from_ref(&small)),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    let three = [small, node("b", "2", json!({})), node("c", "8", tainted)];
    assert_eq!(
        message(&with_cpu("4"), &three),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(message(&with_cpu("4"), &[]), "no nodes available to schedule pods");
}

#[test]
fn what_preemption_could_do_is_told_as_it_is() {
    let asking = |spec: Value| {
        let mut whole = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pod(whole)
    };
    let mut full = node("a", "1", json!({}));
    full.1.add(&asking(json!({"priority": 5})).load);
    let told = |spec: Value| {
        let text = message(&asking(spec), std::slice::from_ref(&full));
        text.strip_prefix("0/1 nodes are available: 1 Insufficient cpu. preemption: ").unwrap().to_owned()
    };
    assert_eq!(
        told(json!({"priority": 5})),
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
    assert_eq!(
        told(json!({"priority": 6})),
        "0/1 nodes are available: 1 Preemption is not carried out by this scheduler."
    );
    assert_eq!(
        told(json!({"priority": 6, "preemptionPolicy": "Never"})),
        "not eligible due to preemptionPolicy=Never."
    );
}

#[test]
fn the_detail_names_each_node_with_the_plugin_that_objected() {
    let nodes = [node("a", "1", json!({})), node("b", "9", json!({"unschedulable": true}))];
    let Decision::Nowhere(unfit) = decided(&with_cpu("4"), &nodes, 0) else { panic!("fits") };
    let plugins: Vec<(&str, &str)> =
        unfit.detail.iter().map(|(node, plugin, _)| (&**node, *plugin)).collect();
    assert_eq!(plugins, [("a", "NodeResourcesFit"), ("b", "NodeUnschedulable")]);
}

#[test]
fn a_field_that_no_plugin_carries_out_keeps_the_pod_waiting_and_is_named() {
    let nodes = [node("a", "1", json!({}))];
    let apart = json!({"containers": [], "affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]}}});
    assert_eq!(
        message(&pod(apart), &nodes),
        "0/1 nodes are available: spec.affinity.podAntiAffinity is not carried out by this scheduler."
    );
}

#[test]
fn the_emptier_node_is_preferred_and_equals_take_turns() {
    let mut nodes = [node("a", "4", json!({})), node("b", "4", json!({})), node("c", "4", json!({}))];
    nodes[0].1.add(&with_cpu("2").load);
    let turns: Vec<Decision> = (0..4).map(|turn| decided(&with_cpu("100m"), &nodes, turn)).collect();
    let fits = |name: &str| Decision::Fits(name.into());
    assert_eq!(turns, [fits("b"), fits("c"), fits("b"), fits("c")]);
}

#[test]
fn a_disliked_taint_and_a_liked_label_outweigh_free_room() {
    let disliked = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
    let nodes = [node("big", "64", disliked), node("small", "1", json!({}))];
    assert_eq!(decided(&with_cpu("500m"), &nodes, 0), Decision::Fits("small".into()));
    let mut nodes = [node("a", "64", json!({})), node("b", "1", json!({}))];
    nodes[1].0.labels.insert("disk".to_owned(), "ssd".to_owned());
    let liking = pod(json!({"containers": [{"name": "c"}], "affinity": {"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {
            "matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}}));
    assert_eq!(decided(&liking, &nodes, 0), Decision::Fits("b".into()));
}

proptest! {
    /// Whatever is asked of whatever nodes, what is chosen has room, and nothing is chosen only where none has.
    #[test]
    fn a_chosen_node_has_room(cpus in prop::collection::vec(0_i64..5000, 0..8), wanted in 1_i64..5000, turn: usize) {
        let nodes: Vec<(NodeInfo, Usage)> =
            cpus.iter().enumerate().map(|(i, cpu)| node(&format!("n{i}"), &format!("{cpu}m"), json!({}))).collect();
        match decided(&with_cpu(&format!("{wanted}m")), &nodes, turn) {
            Decision::Fits(name) => {
                let (chosen, _) = nodes.iter().find(|(n, _)| n.name == name).expect("a node of the list");
                prop_assert!(chosen.allocatable.milli_cpu >= wanted);
            }
            Decision::Nowhere(_) => prop_assert!(cpus.iter().all(|cpu| *cpu < wanted)),
        }
    }
}
