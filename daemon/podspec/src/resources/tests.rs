use serde_json::json;

use super::*;

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({ "spec": spec })).expect("a pod")
}

fn shown(list: &ResourceList) -> Vec<String> {
    list.iter().map(|(n, q)| format!("{n}={q}")).collect()
}

fn cpu(name: &str, request: &str) -> serde_json::Value {
    json!({"name": name, "resources": {"requests": {"cpu": request}}})
}

#[test]
fn a_pod_needs_the_larger_of_its_inits_and_its_containers() {
    let p = pod(json!({"initContainers": [cpu("i", "3")], "containers": [cpu("a", "1"), cpu("b", "500m")]}));
    assert_eq!(shown(&pod_requests(&p)), ["cpu=3"]);
    let p = pod(json!({"initContainers": [cpu("i", "1")], "containers": [cpu("a", "1"), cpu("b", "500m")]}));
    assert_eq!(shown(&pod_requests(&p)), ["cpu=1500m"]);
}

#[test]
fn sidecars_count_for_the_inits_after_them_and_for_the_containers() {
    let mut side = cpu("s", "200m");
    side["restartPolicy"] = json!("Always");
    let p = pod(
        json!({"initContainers": [cpu("i1", "1"), side, cpu("i2", "1")], "containers": [cpu("a", "500m")]}),
    );
    assert_eq!(shown(&pod_requests(&p)), ["cpu=1200m"]);
}

#[test]
fn a_limit_stands_for_a_missing_request_and_overhead_comes_on_top() {
    let p = pod(json!({
        "overhead": {"memory": "10Mi"},
        "containers": [{"name": "a", "resources": {"limits": {"memory": "32Mi"}}}],
    }));
    assert_eq!(shown(&pod_requests(&p)), ["memory=42Mi"]);
    assert_eq!(shown(&pod_limits(&p)), ["memory=42Mi"]);
}

#[test]
fn a_pod_is_limited_only_where_all_its_containers_are() {
    let p = pod(json!({"containers": [
        {"name": "a", "resources": {"limits": {"memory": "32Mi", "cpu": "1"}}},
        {"name": "b", "resources": {"limits": {"memory": "32Mi"}}}]}));
    assert_eq!(shown(&pod_limits(&p)), ["memory=64Mi"]);
}
