use serde_json::{Value, json};

use super::*;
use crate::memory::{MemoryQos, Reservation};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"spec": spec})).unwrap()
}

fn told(pod: &Pod, capacity: &Capacity, policy: &Policy) -> ContainerResources {
    let container = &pod.spec.as_ref().unwrap().containers[0];
    container_resources(pod, container, capacity, policy, Hierarchy::V2, false)
}

fn limited(limits: Value) -> Pod {
    pod(json!({"containers": [{"name": "a", "resources": {"limits": limits}}]}))
}

#[test]
fn row_21_5_without_quotas_neither_quota_nor_period_is_told() {
    let off = Policy { cpu_period_us: None, ..Policy::default() };
    let told = told(&limited(json!({"cpu": "2"})), &Capacity::default(), &off);
    assert_eq!((told.cpu_shares, told.cpu_quota_us, told.cpu_period_us), (2048, 0, 0));
}

#[test]
fn row_21_5_exclusive_processors_take_the_quota_away() {
    let pod = limited(json!({"cpu": "2", "memory": "1Gi"}));
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let told =
        container_resources(&pod, container, &Capacity::default(), &Policy::default(), Hierarchy::V2, true);
    assert_eq!((told.cpu_quota_us, told.cpu_period_us), (-1, 100_000));
}

#[test]
fn row_21_7_every_page_size_of_the_node_is_told() {
    let capacity = Capacity { huge_pages: [(2 << 20, 64 << 20), (1 << 30, 0)].into(), ..Capacity::default() };
    let told = told(&limited(json!({"hugepages-2Mi": "4Mi"})), &capacity, &Policy::default());
    assert_eq!(told.huge_pages, [("2MB".to_owned(), 4 << 20), ("1GB".to_owned(), 0)]);
}

#[test]
fn row_21_9_the_kernel_kills_the_whole_container_unless_told_otherwise() {
    let pod = limited(json!({}));
    let group = |single| {
        let policy = Policy { single_process_oom_kill: single, ..Policy::default() };
        told(&pod, &Capacity::default(), &policy).unified.get("memory.oom.group").cloned()
    };
    assert_eq!((group(false).as_deref(), group(true)), (Some("1"), None));
}

#[test]
fn row_21_10_requests_of_containers_are_kept_by_class() {
    let qos = MemoryQos { throttling_factor: 0.9, reservation: Reservation::Tiered };
    let policy = Policy { memory_qos: Some(qos), ..Policy::default() };
    let capacity = Capacity { memory_bytes: 1 << 30, page_bytes: 4096, ..Capacity::default() };
    let kept = |pod: &Pod| {
        let told = told(pod, &capacity, &policy);
        ["memory.min", "memory.low", "memory.high"]
            .map(|file| told.unified.get(file).cloned().unwrap_or_default())
    };
    assert_eq!(kept(&limited(json!({"cpu": "1", "memory": "1Mi"}))), ["1048576", "0", ""]);
    let burstable = pod(json!({"containers": [{"name": "a", "resources": {
        "requests": {"memory": "1Mi"}, "limits": {"memory": "2Mi"},
    }}]}));
    assert_eq!(kept(&burstable), ["0", "1048576", "1990656"]);
}
