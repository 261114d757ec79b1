use serde_json::json;

use super::*;

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({ "spec": spec })).expect("a pod")
}

fn container(limits: serde_json::Value, requests: serde_json::Value) -> serde_json::Value {
    json!({"name": "c", "resources": {"limits": limits, "requests": requests}})
}

#[test]
fn the_class_follows_from_processor_and_memory_of_all_containers() {
    let full = json!({"cpu": "1", "memory": "1Gi"});
    for (containers, class) in [
        (json!([container(json!({}), json!({}))]), QosClass::BestEffort),
        (json!([container(json!({}), json!({"cpu": "0"}))]), QosClass::BestEffort),
        (json!([container(json!({}), json!({"ephemeral-storage": "1Gi"}))]), QosClass::BestEffort),
        (json!([container(full.clone(), json!({}))]), QosClass::Guaranteed),
        (json!([container(full.clone(), json!({"cpu": "1000m", "memory": "1024Mi"}))]), QosClass::Guaranteed),
        (json!([container(full.clone(), json!({"cpu": "500m"}))]), QosClass::Burstable),
        (json!([container(full.clone(), json!({})), container(json!({}), json!({}))]), QosClass::Burstable),
        (json!([container(json!({"memory": "1Gi"}), json!({}))]), QosClass::Burstable),
    ] {
        assert_eq!(qos_class(&pod(json!({ "containers": containers }))), class, "{containers}");
    }
}

#[test]
fn an_init_container_without_limits_makes_a_pod_burstable() {
    let full = json!({"cpu": "1", "memory": "1Gi"});
    let p = pod(json!({"initContainers": [{"name": "i"}], "containers": [container(full, json!({}))]}));
    assert_eq!(qos_class(&p), QosClass::Burstable);
}

/// Figures of kubelet-fixtures: a node of 24684084Ki.
#[test]
fn the_oom_score_falls_with_the_share_of_memory_that_is_requested() {
    let memory = 24_684_084 * 1024;
    let score = |requests: serde_json::Value| {
        let p = pod(json!({"containers": [container(json!({}), requests)]}));
        oom_score_adj(&p, &p.spec.as_ref().expect("a spec").containers[0], memory)
    };
    assert_eq!(score(json!({})), 1000);
    assert_eq!(score(json!({"memory": "16Mi"})), 999);
    assert_eq!(score(json!({"memory": "6171021Ki"})), 750);
    assert_eq!(score(json!({"memory": "100Gi"})), 3);
}

#[test]
fn only_the_class_by_name_makes_a_pod_node_critical() {
    let p = pod(
        json!({"priority": 2_000_001_000, "priorityClassName": "system-node-critical", "containers": []}),
    );
    assert!(is_node_critical(&p));
    let p = pod(
        json!({"priority": 2_000_001_000, "priorityClassName": "system-cluster-critical", "containers": []}),
    );
    assert!(is_critical(&p) && !is_node_critical(&p));
}

/// Pods of kubelet-fixtures/cgroup-v2: a node of 1535236Ki.
#[test]
fn row_22_5_a_pod_level_request_is_shared_and_a_sidecar_outlives_the_least_container() {
    let memory = 1_535_236 * 1024;
    let scores = |p: &Pod| -> Vec<i32> {
        let spec = p.spec.as_ref().expect("a spec");
        containers(spec).map(|(_, c)| oom_score_adj(p, c, memory)).collect()
    };
    let asks =
        |name: &str, amount: &str| json!({"name": name, "resources": {"requests": {"memory": amount}}});
    let side = |amount: &str| {
        let mut side = asks("s", amount);
        side["restartPolicy"] = json!("Always");
        side
    };
    let level = json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "96Mi"}});
    let p = pod(json!({"resources": level, "containers": [asks("a", "16Mi"), {"name": "b"}]}));
    assert_eq!(scores(&p), [974, 984]);
    let p =
        pod(json!({"initContainers": [asks("i", "100Mi"), side("24Mi")], "containers": [asks("m", "16Mi")]}));
    assert_eq!(scores(&p), [934, 984, 990]);
    let p =
        pod(json!({"initContainers": [side("1Mi")], "containers": [asks("m", "300Mi"), asks("n", "16Mi")]}));
    assert_eq!(scores(&p), [990, 800, 990], "the sidecar alone would have 1000 - 0.67");
}

#[test]
fn row_22_1_values_of_the_pod_as_a_whole_count_alone() {
    let full = json!({"cpu": "1", "memory": "1Gi"});
    for (level, class) in [
        (json!({"limits": full.clone()}), QosClass::Guaranteed),
        (json!({"limits": full.clone(), "requests": {"cpu": "500m", "memory": "1Gi"}}), QosClass::Burstable),
        (json!({"limits": {"cpu": "1"}}), QosClass::Burstable),
        (json!({}), QosClass::Guaranteed),
    ] {
        let p = pod(json!({"resources": level, "containers": [container(full.clone(), json!({}))]}));
        assert_eq!(qos_class(&p), class, "{level}");
    }
}
