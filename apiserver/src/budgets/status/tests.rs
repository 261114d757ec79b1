use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-02T00:10:00Z".parse().unwrap()
}

fn pod(name: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({ "metadata": { "name": name }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } })
}

fn budget(spec: Value, status: Value) -> Value {
    json!({ "metadata": { "name": "b", "generation": 3 }, "spec": spec, "status": status })
}

/// Healthy, wanted to be healthy, allowed and expected pods; why.
fn counts(budget: &Value, pods: &[Value]) -> ([i64; 4], String) {
    let (status, _) = of(budget, &pods.iter().collect::<Vec<_>>(), now());
    let count = |field: &str| status[field].as_i64().unwrap();
    let condition = &status["conditions"][0];
    assert_eq!(condition["type"], "DisruptionAllowed");
    assert_eq!(condition["status"] == "True", count("disruptionsAllowed") > 0);
    let fields = ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"];
    (fields.map(count), condition["reason"].as_str().unwrap().to_owned())
}

#[test]
fn what_is_healthy_beyond_the_minimum_may_go() {
    let pods = [pod("a", true), pod("b", true), pod("c", true), pod("d", false)];
    let with = |least: i64, pods: &[Value]| {
        let (counts, reason) = counts(&budget(json!({ "minAvailable": least }), json!({})), pods);
        (counts, reason)
    };
    assert_eq!(with(2, &pods), ([3, 2, 1, 4], "SufficientPods".to_owned()));
    assert_eq!(with(3, &pods), ([3, 3, 0, 4], "InsufficientPods".to_owned()));
    assert_eq!(with(7, &pods), ([3, 7, 0, 4], "InsufficientPods".to_owned()));
    assert_eq!(with(0, &pods), ([3, 0, 3, 4], "SufficientPods".to_owned()));
    assert_eq!(with(0, &[]), ([0, 0, 0, 0], "InsufficientPods".to_owned()));
}

#[test]
fn a_pod_that_ends_or_was_allowed_to_end_is_not_counted_for_two_minutes() {
    let mut ending = pod("ending", true);
    ending["metadata"]["deletionTimestamp"] = "2026-01-02T00:10:30Z".into();
    let pods = [ending, pod("evicted", true), pod("forgotten", true), pod("stays", true)];
    let disrupted = json!({
        "ending": "2026-01-02T00:09:59Z", "evicted": "2026-01-02T00:08:30Z",
        "forgotten": "2026-01-02T00:07:59Z", "gone": "2026-01-02T00:09:59Z",
    });
    let budget = budget(json!({ "minAvailable": 1 }), json!({ "disruptedPods": disrupted }));
    let (status, recheck) = of(&budget, &pods.iter().collect::<Vec<_>>(), now());
    assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(2), &json!(1)));
    assert_eq!(status["disruptedPods"], json!({ "evicted": "2026-01-02T00:08:30Z" }));
    assert_eq!(recheck, Some(Duration::from_secs(31)), "it counts again then, if it is still there");
}

#[test]
fn where_the_scale_is_not_known_nothing_may_go() {
    let free = [pod("a", true), pod("b", true)];
    let mut owned = free.clone();
    owned[1]["metadata"]["ownerReferences"] = json!([{ "kind": "ReplicaSet", "controller": true }]);
    for spec in [json!({ "maxUnavailable": 1 }), json!({ "minAvailable": "50%" }), json!({})] {
        let (found, reason) = counts(&budget(spec.clone(), json!({})), &free);
        assert_eq!((found[2], found[3], reason.as_str()), (0, 0, "InsufficientPods"), "{spec}");
    }
    let before =
        json!({ "disruptionsAllowed": 2, "currentHealthy": 2, "expectedPods": 2, "desiredHealthy": 0 });
    let (_, reason) = counts(&budget(json!({ "maxUnavailable": "10%" }), before), &owned);
    assert_eq!(reason, "SyncFailed");
    let (status, _) =
        of(&budget(json!({ "maxUnavailable": 1 }), json!({})), &owned.iter().collect::<Vec<_>>(), now());
    assert_eq!(status["conditions"][0]["message"], "found no controllers for pod \"b\"");
    // A number is a number whoever made the pods.
    assert_eq!(counts(&budget(json!({ "minAvailable": 1 }), json!({})), &owned).0, [2, 1, 1, 2]);
}

#[test]
fn a_status_that_is_right_stays_to_the_letter() {
    let pods = [pod("a", true), pod("b", true)];
    let pods: Vec<&Value> = pods.iter().collect();
    let first = budget(json!({ "minAvailable": 1 }), json!({ "conditions": [{ "type": "Other" }] }));
    let (status, _) = of(&first, &pods, now());
    assert_eq!(status["conditions"][0]["type"], "Other");
    assert_eq!(status["observedGeneration"], 3);
    let later = "2026-01-02T05:00:00Z".parse().unwrap();
    let (again, _) = of(&budget(json!({ "minAvailable": 1 }), status.clone()), &pods, later);
    assert_eq!(again, status);
    let (turned, _) = of(&budget(json!({ "minAvailable": 2 }), status), &pods, later);
    assert_eq!(turned["conditions"][1]["lastTransitionTime"], "2026-01-02T05:00:00Z");
}

#[test]
fn what_is_taken_is_noted_with_the_pods_name() {
    let mut budget =
        budget(json!({ "minAvailable": 1 }), json!({ "disruptionsAllowed": 2, "observedGeneration": 3 }));
    take(&mut budget, "a", now());
    assert_eq!(budget["status"]["disruptionsAllowed"], 1);
    assert_eq!(condition(&budget), None);
    take(&mut budget, "b", now());
    let at = "2026-01-02T00:10:00Z";
    assert_eq!(budget["status"]["disruptedPods"], json!({ "a": at, "b": at }));
    let condition = condition(&budget).unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("InsufficientPods")));
}
