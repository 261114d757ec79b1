use proptest::prelude::*;

use super::*;
use crate::pods::{Container, ContainerUsage, Disk, EmptyDir, Usage};
use podspec::Quantity;

pub(crate) fn pod(name: &str, priority: i32, used: Option<u64>, request: u64) -> Candidate {
    let container = Container {
        name: "c".to_owned(),
        memory_request: Quantity::from_bytes(request),
        ..Container::default()
    };
    let used_by = |used| {
        let memory = ContainerUsage { memory: Some(used), ..ContainerUsage::default() };
        Usage { memory: Some(used), containers: [("c".to_owned(), memory)].into(), ..Usage::default() }
    };
    Candidate {
        uid: name.to_owned(),
        name: format!("default/{name}"),
        priority,
        memory_request: Quantity::from_bytes(request),
        containers: vec![container],
        usage: used.map(used_by),
        ..Candidate::default()
    }
}

fn order(pods: &[Candidate], resource: Resource, parts: Parts) -> Vec<&str> {
    rank(pods, resource, parts).iter().map(|ranked| pods[ranked.index].uid.as_str()).collect()
}

#[test]
fn row_29_11_memory_goes_by_exceeded_requests_then_priority_then_excess() {
    let pods = [
        pod("guaranteed-within", 0, Some(90), 100),
        pod("important-above", 1_000, Some(900), 100),
        pod("burstable-above", 0, Some(150), 100),
        pod("best-effort-large", 0, Some(200), 0),
        pod("best-effort-small", 0, Some(20), 0),
        pod("unimportant-within", -5, Some(99), 100),
        pod("idle", 0, Some(0), 0),
        pod("unknown", 5_000, None, 0),
    ];
    let expected = [
        "unknown",
        "best-effort-large",
        "burstable-above",
        "best-effort-small",
        "important-above",
        "unimportant-within",
        "idle",
        "guaranteed-within",
    ];
    assert_eq!(order(&pods, Resource::Memory, Parts::default()), expected);
}

fn on_disk(name: &str, layer: u64, logs: u64, dir: u64, in_memory: bool) -> Candidate {
    let disk = |bytes| Disk { bytes, inodes: bytes / 10 };
    let container = ContainerUsage { memory: None, layer: Some(disk(layer)), logs: Some(disk(logs)) };
    let dir = EmptyDir { used: disk(dir), in_memory };
    Candidate {
        uid: name.to_owned(),
        usage: Some(Usage {
            containers: [("c".to_owned(), container)].into(),
            empty_dirs: [("d".to_owned(), dir)].into(),
            ..Usage::default()
        }),
        ..Candidate::default()
    }
}

#[test]
fn row_29_12_disks_go_by_what_is_on_them() {
    let pods = [
        on_disk("layer", 500, 10, 0, false),
        on_disk("logs", 0, 300, 0, false),
        on_disk("dir", 0, 0, 400, false),
        on_disk("tmpfs", 0, 20, 900, true),
    ];
    let all = Parts { layers: true, local: true };
    assert_eq!(order(&pods, Resource::Storage, all), ["layer", "dir", "logs", "tmpfs"]);
    assert_eq!(order(&pods, Resource::Inodes, all), ["layer", "dir", "logs", "tmpfs"]);
    let node = Parts { layers: false, local: true };
    assert_eq!(order(&pods, Resource::Storage, node), ["dir", "logs", "tmpfs", "layer"]);
    let images = Parts { layers: true, local: false };
    assert_eq!(order(&pods, Resource::Storage, images)[0], "layer");
}

#[test]
fn row_29_13_processes_go_by_priority_and_number_alone() {
    let of = |name: &str, priority, processes| Candidate {
        uid: name.to_owned(),
        priority,
        usage: Some(Usage { processes: Some(processes), ..Usage::default() }),
        ..Candidate::default()
    };
    let pods = [of("few", 0, 3), of("many", 0, 300), of("important", 10, 9_000), of("unimportant", -1, 1)];
    let expected = ["unimportant", "many", "few", "important"];
    assert_eq!(order(&pods, Resource::Pids, Parts::default()), expected);
}

fn any_pod() -> impl Strategy<Value = Candidate> {
    (-3..3_i32, proptest::option::of(0..50_u64), 0..50_u64)
        .prop_map(|(priority, used, request)| pod("p", priority, used, request))
}

proptest! {
    #[test]
    fn a_pod_within_its_request_never_goes_before_one_above_it(
        pods in proptest::collection::vec(any_pod(), 0..20),
    ) {
        let ranked = rank(&pods, Resource::Memory, Parts::default());
        prop_assert_eq!(ranked.len(), pods.len());
        for pair in ranked.windows(2) {
            let above = |r: &Ranked| r.excess().is_none_or(|excess| excess > 0);
            prop_assert!(above(&pair[0]) || !above(&pair[1]));
            let known = pair[0].excess().is_some();
            if known && above(&pair[0]) == above(&pair[1]) {
                prop_assert!(pair[0].priority <= pair[1].priority);
                if pair[0].priority == pair[1].priority {
                    prop_assert!(pair[0].excess() >= pair[1].excess());
                }
            }
        }
    }
}
