//! A table of pods, and every value that follows from them.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "pods/table.rs"]
mod table;

use cgroups::{
    ContainerResources, Hierarchy, MemoryQos, Policy, Reservation, SwapBehavior, container_resources,
    pod_tier, pod_values,
};
use table::{Row, capacity, further, policy, recorded};

fn all() -> impl Iterator<Item = Row> {
    recorded().into_iter().chain(further())
}

fn containers_of(row: &Row, policy: &Policy) -> Vec<(String, ContainerResources)> {
    let spec = row.pod.spec.as_ref().expect("a spec");
    podspec::containers(spec)
        .map(|(_, container)| {
            let told = container_resources(&row.pod, container, &capacity(), policy, Hierarchy::V2, false);
            (container.name.clone(), told)
        })
        .collect()
}

#[test]
fn rows_21_and_22_each_pods_cgroup_holds_what_a_kubelet_writes() {
    for row in all() {
        assert_eq!(pod_tier(&row.pod), row.tier, "{}", row.name);
        let settings = pod_values(&row.pod, &capacity(), &policy(), false).settings();
        let content = |file: &str, default: &str| {
            let setting = settings.iter().find(|s| s.file == file);
            setting.map_or_else(|| default.to_owned(), |s| s.content.clone())
        };
        assert_eq!(content("cpu.weight", "100"), row.files.cpu_weight, "{}", row.name);
        assert_eq!(content("cpu.max", "max 100000"), row.files.cpu_max, "{}", row.name);
        assert_eq!(content("memory.max", "max"), row.files.memory_max, "{}", row.name);
        assert_eq!(content("pids.max", "max"), row.files.pids_max, "{}", row.name);
        assert_eq!(content("memory.min", "unset"), "unset", "{}", row.name);
    }
}

#[test]
fn rows_21_and_22_the_runtime_is_told_of_each_container_what_a_kubelet_tells() {
    let throttled = MemoryQos { throttling_factor: 0.9, reservation: Reservation::None };
    let with_qos = Policy { memory_qos: Some(throttled), ..policy() };
    for row in all() {
        let plain = containers_of(&row, &policy());
        let with_qos = containers_of(&row, &with_qos);
        for expected in &row.containers {
            let of = |list: &[(String, ContainerResources)]| {
                list.iter().find(|(name, _)| name == expected.name).unwrap().1.clone()
            };
            let (told, with_qos) = (of(&plain), of(&with_qos));
            let place = format!("{} of {}", expected.name, row.name);
            assert_eq!(told.cpu_shares, expected.shares, "{place}");
            assert_eq!((told.cpu_quota_us, told.cpu_period_us), (expected.quota_us, 100_000), "{place}");
            assert_eq!(told.memory_limit_bytes, expected.memory_bytes, "{place}");
            assert_eq!(told.memory_swap_limit_bytes, 0, "{place}");
            assert_eq!(told.oom_score_adj, expected.oom_score_adj, "{place}");
            let unified = [("memory.oom.group", "1"), ("memory.swap.max", "0")];
            assert_eq!(
                told.unified,
                unified.map(|(file, content)| (file.to_owned(), content.to_owned())).into(),
                "{place}"
            );
            let high = with_qos.unified.get("memory.high").map(|high| high.parse().unwrap());
            assert_eq!(high, expected.memory_high, "{place}");
            assert_eq!(with_qos.unified["memory.min"], "0", "{place}");
        }
    }
}

#[test]
fn row_28_with_limited_swap_burstable_containers_get_their_share() {
    let node = cgroups::Capacity { swap_bytes: 1 << 30, ..capacity() };
    let limited = Policy { swap: SwapBehavior::LimitedSwap, ..policy() };
    // 28.3: not guaranteed, not besteffort, not critical, not without a request, not with request = limit.
    let eligible = [
        ("burst-req", "a", 32 << 20),
        ("init-sidecar", "init", 100 << 20),
        ("init-sidecar", "side", 24 << 20),
        ("init-sidecar", "main", 16 << 20),
        ("podlevel", "a", 16 << 20),
        ("burst-mixed", "a", 1 << 20),
        ("burst-lim", "a", 32 << 20),
    ];
    for row in recorded() {
        for (_, container) in podspec::containers(row.pod.spec.as_ref().unwrap()) {
            let told = container_resources(&row.pod, container, &node, &limited, Hierarchy::V2, false);
            let wanted = eligible
                .iter()
                .find(|(pod, name, _)| (*pod, *name) == (row.name, container.name.as_str()))
                .map_or(0, |(_, _, request)| {
                    (f64::from(*request) / node.memory_bytes as f64 * node.swap_bytes as f64) as u64
                });
            assert_eq!(
                told.unified["memory.swap.max"],
                wanted.to_string(),
                "{} of {}",
                container.name,
                row.name
            );
        }
    }
}

#[test]
fn row_28_a_kernel_that_does_not_count_swap_is_not_told_of_it() {
    let node = cgroups::Capacity { counts_swap: false, ..capacity() };
    let row = &recorded()[0];
    let container = &row.pod.spec.as_ref().unwrap().containers[0];
    let told = container_resources(&row.pod, container, &node, &policy(), Hierarchy::V2, false);
    assert!(!told.unified.contains_key("memory.swap.max"));
}

#[test]
fn without_the_unified_hierarchy_nothing_of_it_is_told() {
    for row in recorded() {
        for (_, container) in podspec::containers(row.pod.spec.as_ref().unwrap()) {
            let told = container_resources(&row.pod, container, &capacity(), &policy(), Hierarchy::V1, false);
            assert!(told.unified.is_empty() && told.huge_pages.is_empty());
            assert_eq!(told.memory_swap_limit_bytes, told.memory_limit_bytes);
        }
    }
}
