//! Pods, and what a kubelet 1.36 was seen to make of them on a node of one processor and 1,535,236 KiB: the figures of
//! kubelet-fixtures/cgroup-v2, in both drivers the same. Further rows follow behaviour.md where no recording has them.

use cgroups::{Capacity, Enforced, Policy, Reserved, Tier};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// What the pod's cgroup holds, as its files say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) cpu_weight: &'static str,
    pub(crate) cpu_max: &'static str,
    pub(crate) memory_max: &'static str,
    pub(crate) pids_max: &'static str,
}

/// What the runtime is told of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) shares: u64,
    pub(crate) quota_us: i64,
    pub(crate) memory_bytes: u64,
    pub(crate) oom_score_adj: i32,
    /// `memory.high` with the feature gate MemoryQoS.
    pub(crate) memory_high: Option<u64>,
}

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) tier: Tier,
    pub(crate) pod: Pod,
    pub(crate) files: Files,
    pub(crate) containers: Vec<Told>,
}

/// The recorded node.
pub(crate) fn capacity() -> Capacity {
    Capacity {
        cpu_millis: 1000,
        memory_bytes: 1_535_236 * 1024,
        swap_bytes: 0,
        pids: Some(12_071),
        huge_pages: [].into(),
        cpus: vec![0],
        page_bytes: 4096,
        counts_swap: true,
    }
}

/// Its settings: podPidsLimit 500, two reservations of 50m and 64Mi each.
pub(crate) fn policy() -> Policy {
    let reserved = Reserved { cpu_millis: Some(50), memory_bytes: Some(64 << 20), pids: None };
    Policy {
        pod_pids_limit: 500,
        system_reserved: reserved,
        kube_reserved: reserved,
        enforced: Enforced::parse(["pods"]),
        ..Policy::default()
    }
}

fn container(name: &str, requests: Value, limits: Value) -> Value {
    json!({"name": name, "image": "i", "resources": {"requests": requests, "limits": limits}})
}

fn row(
    name: &'static str,
    tier: Tier,
    spec: Value,
    [cpu_weight, cpu_max, memory_max]: [&'static str; 3],
    containers: Vec<Told>,
) -> Row {
    let pod = json!({"metadata": {"name": name, "uid": format!("0000-{name}")}, "spec": spec});
    let pod = serde_json::from_value(pod).expect("a pod");
    let files = Files { cpu_weight, cpu_max, memory_max, pids_max: "500" };
    Row { name, tier, pod, files, containers }
}

fn told(
    name: &'static str,
    shares: u64,
    quota_us: i64,
    memory_bytes: u64,
    oom_score_adj: i32,
    memory_high: Option<u64>,
) -> Told {
    Told { name, shares, quota_us, memory_bytes, oom_score_adj, memory_high }
}

const NO_QUOTA: &str = "max 100000";

/// The ten pods that were recorded.
pub(crate) fn recorded() -> Vec<Row> {
    let sidecar = |name: &str, requests: Value| {
        let mut container = container(name, requests, json!({}));
        container["restartPolicy"] = json!("Always");
        container
    };
    let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    vec![
        row(
            "besteffort",
            Tier::BestEffort,
            json!({"containers": [container("a", json!({}), json!({}))]}),
            ["1", NO_QUOTA, "max"],
            vec![told("a", 2, 0, 0, 1000, None)],
        ),
        row(
            "burst-req",
            Tier::Burstable,
            json!({"containers": [container("a", both("100m", "32Mi"), json!({}))]}),
            ["4", NO_QUOTA, "max"],
            vec![told("a", 102, 0, 0, 979, Some(1_297_432_576))],
        ),
        row(
            "init-sidecar",
            Tier::Burstable,
            json!({
                "initContainers": [
                    container("init", both("200m", "100Mi"), json!({})),
                    sidecar("side", both("50m", "24Mi")),
                ],
                "containers": [container("main", both("50m", "16Mi"), json!({}))],
            }),
            ["8", NO_QUOTA, "max"],
            vec![
                told("side", 51, 0, 0, 984, Some(1_296_592_896)),
                told("main", 51, 0, 0, 990, Some(1_295_753_216)),
            ],
        ),
        row(
            "burst-small",
            Tier::Burstable,
            json!({"containers": [container("a", json!({"cpu": "3m"}), json!({"cpu": "5m"}))]}),
            ["1", "1000 100000", "max"],
            vec![told("a", 3, 1000, 0, 999, None)],
        ),
        row(
            "critical",
            Tier::Burstable,
            json!({
                "priority": 2_000_001_000, "priorityClassName": "system-node-critical",
                "containers": [container("a", both("10m", "8Mi"), json!({}))],
            }),
            ["1", NO_QUOTA, "max"],
            vec![told("a", 10, 0, 0, -997, Some(1_294_913_536))],
        ),
        row(
            "podlevel",
            Tier::Burstable,
            json!({
                "resources": {"requests": both("150m", "64Mi"), "limits": both("300m", "96Mi")},
                "containers": [
                    container("a", both("50m", "16Mi"), json!({})),
                    container("b", json!({}), json!({})),
                ],
            }),
            ["6", "30000 100000", "100663296"],
            vec![
                told("a", 51, 30_000, 100_663_296, 974, Some(1_295_753_216)),
                told("b", 307, 30_000, 100_663_296, 984, None),
            ],
        ),
        row(
            "burst-mixed",
            Tier::Burstable,
            json!({"containers": [
                container("a", both("1m", "1Mi"), json!({"memory": "64Mi"})),
                container("b", json!({}), json!({})),
            ]}),
            ["1", NO_QUOTA, "max"],
            vec![told("a", 2, 0, 64 << 20, 999, Some(60_502_016)), told("b", 2, 0, 0, 999, None)],
        ),
        row(
            "burst-lim",
            Tier::Burstable,
            json!({"containers": [container("a", both("100m", "32Mi"), both("300m", "128Mi"))]}),
            ["4", "30000 100000", "134217728"],
            vec![told("a", 102, 30_000, 128 << 20, 979, Some(124_149_760))],
        ),
        row(
            "guaranteed-two",
            Tier::Guaranteed,
            json!({"containers": [
                container("a", both("100m", "32Mi"), both("100m", "32Mi")),
                container("b", both("50m", "16Mi"), both("50m", "16Mi")),
            ]}),
            ["6", "15000 100000", "50331648"],
            vec![told("a", 102, 10_000, 32 << 20, -997, None), told("b", 51, 5000, 16 << 20, -997, None)],
        ),
        row(
            "guaranteed",
            Tier::Guaranteed,
            json!({"containers": [container("a", both("150m", "64Mi"), both("150m", "64Mi"))]}),
            ["6", "15000 100000", "67108864"],
            vec![told("a", 153, 15_000, 64 << 20, -997, None)],
        ),
    ]
}

/// Pods that nobody recorded, by the rows of behaviour.md.
pub(crate) fn further() -> Vec<Row> {
    let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    vec![
        row(
            "row-7-15-overhead",
            Tier::Guaranteed,
            json!({
                "overhead": both("250m", "32Mi"),
                "containers": [container("a", both("250m", "32Mi"), both("250m", "32Mi"))],
            }),
            ["20", "50000 100000", "67108864"],
            vec![told("a", 256, 25_000, 32 << 20, -997, None)],
        ),
        row(
            "row-21-3-limit-alone",
            Tier::Burstable,
            json!({"containers": [container("a", json!({}), json!({"cpu": "500m"}))]}),
            ["20", "50000 100000", "max"],
            vec![told("a", 512, 50_000, 0, 999, None)],
        ),
        row(
            "row-21-3-request-of-nothing",
            Tier::Burstable,
            json!({"containers": [container("a", json!({"cpu": "0"}), json!({"cpu": "500m"}))]}),
            ["1", "50000 100000", "max"],
            vec![told("a", 2, 50_000, 0, 999, None)],
        ),
        row(
            "row-21-5-init-unlimited",
            Tier::Burstable,
            json!({
                "initContainers": [container("i", json!({}), json!({}))],
                "containers": [container("a", both("1", "1Gi"), both("1", "1Gi"))],
            }),
            ["39", NO_QUOTA, "max"],
            vec![told("i", 2, 0, 0, 999, None), told("a", 1024, 100_000, 1 << 30, 317, None)],
        ),
        row(
            "row-22-3-zero-is-nothing",
            Tier::BestEffort,
            json!({"containers": [container("a", both("0", "0"), json!({}))]}),
            ["1", NO_QUOTA, "max"],
            vec![told("a", 2, 0, 0, 1000, None)],
        ),
        row(
            "row-22-5-more-than-there-is",
            Tier::Burstable,
            json!({"containers": [container("a", json!({"memory": "64Gi"}), json!({}))]}),
            ["1", NO_QUOTA, "max"],
            vec![told("a", 2, 0, 0, 3, None)],
        ),
    ]
}
