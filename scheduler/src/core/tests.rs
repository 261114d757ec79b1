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
        Effect::Bind { pod, node, .. } => (&*pod.name, &**node),
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

fn with_claim(name: &str) -> PodInfo {
    let volume = json!({"name": "d", "persistentVolumeClaim": {"claimName": "c"}});
    let pod = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"containers": [{"name": "c"}], "volumes": [volume]},
    });
    PodInfo::of(&serde_json::from_value::<Pod>(pod).expect("a pod"))
}

fn claim() -> ClaimInfo {
    let claim = json!({
        "metadata": {"name": "c", "namespace": "ns", "uid": "claim"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "lazy"},
    });
    ClaimInfo::of(&serde_json::from_value(claim).expect("a claim"))
}

fn lazy() -> ClassInfo {
    let class = json!({"metadata": {"name": "lazy"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"});
    ClassInfo::of(&serde_json::from_value(class).expect("a class"))
}

fn volume() -> VolumeInfo {
    let volume = json!({
        "metadata": {"name": "v", "resourceVersion": "7"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "lazy"},
        "status": {"phase": "Available"},
    });
    VolumeInfo::of(&serde_json::from_value(volume).expect("a volume"))
}

#[test]
fn a_pod_with_a_claim_waits_for_the_lists_and_gets_a_volume_with_its_node() {
    let mut core = core(vec![node("n", 1000)], vec![with_claim("a")]);
    assert!(core.decide(9, secs(0)).is_empty(), "what is not listed is not known to be missing");
    core.step(Input::Volumes(vec![]), secs(1));
    core.step(Input::Classes(vec![lazy()]), secs(1));
    assert!(core.decide(9, secs(1)).is_empty());
    core.step(Input::Claims(vec![]), secs(2));
    let said = "0/1 nodes are available: persistentvolumeclaim \"c\" not found. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    assert_eq!(message(&core.decide(9, secs(100))[0]), said);
    core.step(Input::ReportEnded(u("a"), true), secs(100));
    core.step(Input::Claim(claim().key, Some(claim())), secs(200));
    let said = message(&core.decide(9, secs(200))[0]).to_owned();
    assert!(said.contains("1 node(s) didn't find available persistent volumes to bind"), "{said}");
    core.step(Input::ReportEnded(u("a"), true), secs(200));
    core.step(Input::Volume("v".into(), Some(volume())), secs(300));
    let effects = core.decide(9, secs(300));
    let Effect::Bind { pod, volumes, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((&*pod.name, &*volumes[0].volume, &*volumes[0].version), ("a", "v", "7"));
    assert_eq!(&*volumes[0].claim_uid, "claim");
}

#[test]
fn two_pods_do_not_get_one_volume() {
    let mut core = core(vec![node("n", 1000)], vec![with_claim("a"), with_claim("b")]);
    core.step(Input::Volumes(vec![volume()]), secs(0));
    core.step(Input::Classes(vec![lazy()]), secs(0));
    core.step(Input::Claims(vec![claim()]), secs(0));
    let effects = core.decide(9, secs(100));
    assert!(matches!(&effects[0], Effect::Bind { volumes, .. } if volumes.len() == 1), "{effects:?}");
    assert!(message(&effects[1]).contains("didn't find available persistent volumes to bind"));
    // The first was too late: somebody else has the volume, and gives it back.
    core.step(Input::BindEnded(u("a"), BindEnd::Unavailable), secs(101));
    core.step(Input::ReportEnded(u("b"), true), secs(101));
    let effects = core.decide(9, secs(300));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Bind { .. })), "{effects:?}");
}
