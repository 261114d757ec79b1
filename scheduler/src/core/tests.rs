use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::json;

use super::*;

mod world;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn node(name: &str, cpu_millis: i64) -> NodeInfo {
    let node = json!({"metadata": {"name": name}, "status": {"allocatable": {
        "cpu": format!("{cpu_millis}m"), "memory": "8Gi", "pods": "110"}}});
    NodeInfo::of(&serde_json::from_value::<Node>(node).expect("a node"))
}

fn pod(name: &str, cpu_millis: i64, node: Option<&str>) -> PodInfo {
    let requests = json!({"cpu": format!("{cpu_millis}m")});
    let pod = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": requests}}]},
    });
    PodInfo::of(&serde_json::from_value::<Pod>(pod).expect("a pod"))
}

fn core(nodes: Vec<NodeInfo>, pods: Vec<PodInfo>) -> Core {
    let mut core = Core::default();
    core.step(Input::Nodes(nodes), secs(0));
    core.step(Input::Pods(pods), secs(0));
    core
}

fn bound(effect: &Effect) -> (&str, &str) {
    match effect {
        Effect::Bind { pod, node } => (&*pod.name, &**node),
        other => panic!("{other:?}"),
    }
}

const NO_ROOM: &str = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

fn message(effect: &Effect) -> &str {
    match effect {
        Effect::Report(report) => &report.message,
        other => panic!("{other:?}"),
    }
}

fn u(name: &str) -> Arc<str> {
    Arc::from(name)
}

#[test]
fn nothing_is_decided_before_both_lists_are_there() {
    let mut core = Core::default();
    core.step(Input::Pods(vec![pod("a", 1, None)]), secs(0));
    assert!(core.decide(9, secs(0)).is_empty());
    assert_eq!(core.due(), None);
    core.step(Input::Nodes(vec![node("n", 1000)]), secs(0));
    assert_eq!(core.due(), Some(secs(0)));
    assert_eq!(bound(&core.decide(9, secs(0))[0]), ("a", "n"));
}

#[test]
fn a_pod_takes_its_room_from_the_decision_on() {
    let mut core = core(vec![node("n", 1000)], vec![pod("a", 600, None), pod("b", 600, None)]);
    let effects = core.decide(9, secs(0));
    assert_eq!(bound(&effects[0]).1, "n");
    assert_eq!(message(&effects[1]), NO_ROOM);
}

#[test]
fn a_pod_that_does_not_fit_is_bound_when_another_leaves() {
    let mut core = core(vec![node("n", 1000)], vec![pod("old", 600, Some("n")), pod("new", 600, None)]);
    assert_eq!(message(&core.decide(9, secs(0))[0]), NO_ROOM);
    core.step(Input::ReportEnded(u("new"), true), secs(0));
    assert!(core.decide(9, secs(100)).is_empty());
    core.step(Input::PodGone(u("old")), secs(100));
    assert_eq!(bound(&core.decide(9, secs(100))[0]), ("new", "n"));
}

#[test]
fn a_node_that_comes_while_the_report_is_written_is_not_missed() {
    let mut core = core(vec![], vec![pod("a", 1, None)]);
    assert_eq!(message(&core.decide(9, secs(0))[0]), "no nodes available to schedule pods");
    core.step(Input::Node(node("n", 1000)), secs(0));
    assert!(core.decide(9, secs(0)).is_empty(), "not while the report is on its way");
    core.step(Input::ReportEnded(u("a"), true), secs(0));
    assert_eq!(core.due(), Some(secs(1)));
    assert_eq!(bound(&core.decide(9, secs(1))[0]), ("a", "n"));
}

#[test]
fn the_same_is_reported_again_only_after_five_minutes_and_then_as_an_event() {
    let mut waiting = pod("a", 5000, None);
    let mut core = core(vec![node("n", 1000)], vec![waiting.clone()]);
    let Some(Effect::Report(first)) = core.decide(9, secs(0)).pop() else { panic!("no report") };
    assert!(first.condition && first.event && !first.known_false);
    if let Standing::Waiting(wish) = &mut waiting.standing {
        wish.reported = Some(first.message.as_str().into());
    }
    core.step(Input::Pod(waiting), secs(0));
    core.step(Input::ReportEnded(u("a"), true), secs(0));
    core.step(Input::Node(node("n", 1100)), secs(50));
    assert!(core.decide(9, secs(50)).is_empty());
    let Some(Effect::Report(again)) = core.decide(9, secs(350)).pop() else { panic!("no report") };
    assert!(again.event && !again.condition);
}

#[test]
fn a_report_that_was_not_written_is_written_later() {
    let mut core = core(vec![], vec![pod("a", 1, None)]);
    assert_eq!(core.decide(9, secs(0)).len(), 1);
    core.step(Input::ReportEnded(u("a"), false), secs(10));
    assert!(core.decide(9, secs(10)).is_empty());
    assert!(matches!(&core.decide(9, secs(11))[..], [Effect::Report(r)] if r.condition && r.event));
}

#[test]
fn a_binding_that_fails_is_tried_again_after_a_back_off_and_frees_its_room_meanwhile() {
    let mut core = core(vec![node("n", 1000)], vec![pod("a", 600, None)]);
    assert_eq!(core.decide(9, secs(0)).len(), 1);
    core.step(Input::BindEnded(u("a"), BindEnd::Unavailable), secs(0));
    core.step(Input::Pod(pod("b", 600, None)), secs(0));
    assert_eq!(bound(&core.decide(9, secs(0))[0]), ("b", "n"));
    assert_eq!(message(&core.decide(9, secs(1))[0]), NO_ROOM);
}

#[test]
fn a_binding_that_is_refused_is_told() {
    let mut core = core(vec![node("n", 1000)], vec![pod("a", 600, None)]);
    assert_eq!(core.decide(9, secs(0)).len(), 1);
    core.step(Input::BindEnded(u("a"), BindEnd::Refused("no".to_owned())), secs(0));
    let effects = core.decide(9, secs(0));
    assert_eq!(message(&effects[0]), "binding rejected: no");
    core.step(Input::ReportEnded(u("a"), true), secs(0));
    assert_eq!(bound(&core.decide(9, secs(1))[0]), ("a", "n"));
}

#[test]
fn a_pod_that_is_deleted_while_it_is_bound_leaves_no_trace() {
    let mut core = core(vec![node("n", 1000)], vec![pod("a", 600, None)]);
    assert_eq!(core.decide(9, secs(0)).len(), 1);
    core.step(Input::PodGone(u("a")), secs(0));
    core.step(Input::BindEnded(u("a"), BindEnd::Overtaken), secs(0));
    assert!(core.usage.is_empty() && core.pods.is_empty());
    assert!(core.decide(9, secs(99)).is_empty());
}

#[test]
fn a_pod_that_another_put_elsewhere_is_counted_there() {
    let mut core = core(vec![node("m", 1000)], vec![pod("a", 600, None)]);
    assert_eq!(bound(&core.decide(9, secs(0))[0]), ("a", "m"));
    core.step(Input::Pod(pod("a", 600, Some("n"))), secs(0));
    core.step(Input::BindEnded(u("a"), BindEnd::Overtaken), secs(0));
    assert_eq!(core.usage.keys().map(|n| &**n).collect::<Vec<_>>(), ["n"]);
}

#[test]
fn a_relist_is_the_truth_about_what_is_gone() {
    let mut core =
        core(vec![node("m", 1), node("n", 1)], vec![pod("a", 1, Some("n")), pod("b", 1, Some("n"))]);
    core.step(Input::Nodes(vec![node("n", 1)]), secs(0));
    core.step(Input::Pods(vec![pod("b", 1, Some("n"))]), secs(0));
    assert_eq!((core.nodes.len(), core.pods.len(), core.usage[&u("n")].pods), (1, 1, 1));
}

#[test]
fn a_heartbeat_wakes_nobody() {
    let mut core = core(vec![node("n", 1)], vec![pod("a", 5, None)]);
    assert_eq!(core.decide(9, secs(0)).len(), 1);
    core.step(Input::ReportEnded(u("a"), true), secs(0));
    core.step(Input::Node(node("n", 1)), secs(50));
    assert_eq!(core.due(), Some(FLUSH));
}

#[test]
fn no_more_is_begun_than_there_is_room_for() {
    let pods = (0..60).map(|i| pod(&format!("p{i}"), 10, None)).collect();
    let mut core = core(vec![node("n", 1000)], pods);
    assert_eq!(core.decide(32, secs(0)).len(), 32);
    assert_eq!(core.due(), Some(secs(0)));
    assert_eq!(core.decide(32, secs(0)).len(), 28);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_rooms_are_kept_and_every_pod_that_fits_is_bound_in_the_end(
        seed: u64,
        steps in 1_usize..300,
    ) {
        world::World::new(seed).run(steps);
    }
}
