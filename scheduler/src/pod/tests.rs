use serde_json::{Value, json};

use super::*;

fn read(mut pod: Value) -> PodInfo {
    pod["metadata"]["uid"] = json!("u");
    PodInfo::of(&serde_json::from_value(pod).expect("a pod"))
}

fn waits(pod: Value) -> bool {
    matches!(read(pod).standing, Standing::Waiting(_))
}

#[test]
fn only_pods_that_want_this_scheduler_and_can_still_start_wait() {
    assert!(waits(json!({"spec": {"containers": []}})));
    assert!(waits(json!({"spec": {"containers": [], "schedulerName": "default-scheduler"}})));
    assert!(!waits(json!({"spec": {"containers": [], "schedulerName": "other"}})));
    assert!(!waits(json!({"spec": {"containers": [], "schedulingGates": [{"name": "g"}]}})));
    assert!(!waits(
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"containers": []}})
    ));
    assert!(!waits(json!({"spec": {"containers": []}, "status": {"phase": "Failed"}})));
    assert!(!waits(json!({})));
}

#[test]
fn a_pod_that_has_ended_takes_no_room_and_one_that_is_being_deleted_does() {
    let bound = json!({"containers": [], "nodeName": "n"});
    let ended = read(json!({"spec": bound, "status": {"phase": "Succeeded"}}));
    assert!(matches!(ended.standing, Standing::Aside));
    let ending = read(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": bound}));
    assert!(matches!(ending.standing, Standing::Bound(_)));
}

#[test]
fn a_container_without_requests_counts_for_the_scores_only() {
    let pod = read(json!({"spec": {"containers": [
        {"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}]}}));
    assert_eq!((pod.load.requests.milli_cpu, pod.load.requests.memory_bytes), (1000, 0));
    assert_eq!((pod.load.scored.milli_cpu, pod.load.scored.memory_bytes), (1100, 2 * 200 * 1024 * 1024));
}

#[test]
fn the_schedulers_own_report_is_no_change_of_what_is_asked() {
    let wish = |status: Value| match read(json!({"spec": {"containers": []}, "status": status})).standing {
        Standing::Waiting(wish) => *wish,
        other => panic!("{other:?}"),
    };
    let condition = json!({"type": "PodScheduled", "status": "False", "message": "no"});
    let (before, after) = (wish(json!({})), wish(json!({"conditions": [condition]})));
    assert_eq!(after.reported.as_deref(), Some("no"));
    assert!(before.asks_the_same(&after));
}
