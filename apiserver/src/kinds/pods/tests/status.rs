//! What a node may say about containers that have ended.

use super::*;

/// What is wrong with a status in which a container that has ended with this code runs again.
fn again(exit_code: i64, list: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut old = admitted(change).unwrap();
    let name = match list {
        "containerStatuses" => "c",
        "initContainerStatuses" => "i",
        _ => "e",
    };
    old["status"][list] = json!([{ "name": name, "state": { "terminated": { "exitCode": exit_code } } }]);
    let mut new = old.clone();
    new["status"][list][0]["state"] = json!({ "running": {} });
    PODS.validate_update(&new, &old, Part::Status).iter().map(ToString::to_string).collect()
}

const REFUSED: &str = "state: Forbidden: may not be transitioned to non-terminated state";

#[test]
fn a_container_that_has_ended_for_good_stays_ended() {
    const MAIN: &str = "containerStatuses";
    let policy = |policy: &'static str| move |p: &mut Value| p["spec"]["restartPolicy"] = policy.into();
    assert_eq!(again(1, MAIN, policy("Never")), [format!("status.containerStatuses[0].{REFUSED}")]);
    assert_eq!(again(0, MAIN, policy("OnFailure")), [format!("status.containerStatuses[0].{REFUSED}")]);
    assert!(again(1, MAIN, policy("OnFailure")).is_empty());
    assert!(again(0, MAIN, policy("Always")).is_empty());
}

#[test]
fn its_own_policy_and_rules_come_before_those_of_the_pod() {
    const MAIN: &str = "containerStatuses";
    let own = |pod: &'static str, own: &'static str| {
        move |p: &mut Value| {
            p["spec"]["restartPolicy"] = pod.into();
            p["spec"]["containers"][0]["restartPolicy"] = own.into();
            let rule = json!({ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } });
            p["spec"]["containers"][0]["restartPolicyRules"] = json!([rule]);
        }
    };
    assert_eq!(again(1, MAIN, own("Always", "Never")).len(), 1);
    assert!(again(42, MAIN, own("Never", "Never")).is_empty(), "by the rule");
    assert!(again(1, MAIN, own("Never", "OnFailure")).is_empty());
}

#[test]
fn a_sidecar_may_run_again_an_init_container_that_was_done_may_not() {
    const INIT: &str = "initContainerStatuses";
    let init = |own: Option<&'static str>| {
        move |p: &mut Value| {
            p["spec"]["restartPolicy"] = "OnFailure".into();
            p["spec"]["initContainers"] = json!([{ "name": "i", "image": "i" }]);
            if let Some(own) = own {
                p["spec"]["initContainers"][0]["restartPolicy"] = own.into();
            }
        }
    };
    assert_eq!(again(0, INIT, init(None)), [format!("status.initContainerStatuses[0].{REFUSED}")]);
    assert!(again(0, INIT, init(Some("Always"))).is_empty());
}

#[test]
fn where_all_may_start_again_only_ephemeral_containers_stay_ended() {
    let all = |p: &mut Value| {
        p["spec"]["restartPolicy"] = "Never".into();
        let rule =
            json!({ "action": "RestartAllContainers", "exitCodes": { "operator": "In", "values": [9] } });
        p["spec"]["containers"].as_array_mut().unwrap().push(
            json!({ "name": "d", "image": "i", "restartPolicy": "Never", "restartPolicyRules": [rule] }),
        );
        p["spec"]["ephemeralContainers"] = json!([{ "name": "e", "image": "i" }]);
    };
    assert!(again(0, "containerStatuses", all).is_empty());
    assert_eq!(again(1, "ephemeralContainerStatuses", all).len(), 1);
}
