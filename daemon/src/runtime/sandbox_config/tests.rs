use std::path::Path;

use cgroups::{Capacity, Hierarchy, Policy};
use serde_json::{Value, json};

use super::*;
use crate::runtime::users;

fn made(spec: Value) -> v1::PodSandboxConfig {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    let pod = json!({"metadata": {"name": "web", "namespace": "fx", "uid": "u1", "labels": {"app": "web"},
                                  "annotations": {"example.com/a": "1"}}, "spec": spec});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let limits =
        Limits { capacity: Capacity::default(), policy: Policy::default(), hierarchy: Hierarchy::V2 };
    let resolver = Resolver { servers: vec!["10.96.0.10".to_owned()], ..Resolver::default() };
    let parts = Parts {
        attempt: 3,
        log_dir: Path::new("/var/log/pods/fx_web_u1"),
        resolver,
        hostname: "web.sub".to_owned(),
        users: users::of_node(),
        limits: &limits,
    };
    sandbox_config(&pod, parts)
}

/// Figures of kubelet-fixtures twoc/sandbox.json.
#[test]
fn row_7_5_a_sandbox_is_described_as_a_kubelet_describes_it() {
    let config = made(json!({
        "containers": [
            {"name": "one", "ports": [{"containerPort": 8080, "hostPort": 18080, "protocol": "TCP"}, {"containerPort": 5353, "protocol": "UDP"}],
             "resources": {"limits": {"memory": "32Mi"}, "requests": {"cpu": "10m"}}},
        ],
    }));
    let meta = config.metadata.expect("some");
    assert_eq!(
        (meta.name.as_str(), meta.namespace.as_str(), meta.uid.as_str(), meta.attempt),
        ("web", "fx", "u1", 3)
    );
    assert_eq!(
        (config.hostname.as_str(), config.log_directory.as_str()),
        ("web.sub", "/var/log/pods/fx_web_u1")
    );
    let mut labels: Vec<(&str, &str)> = config.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    labels.sort_unstable();
    let expected = [
        ("app", "web"),
        ("io.kubernetes.pod.name", "web"),
        ("io.kubernetes.pod.namespace", "fx"),
        ("io.kubernetes.pod.uid", "u1"),
    ];
    assert_eq!(labels, expected);
    assert_eq!(
        (config.annotations["example.com/a"].as_str(), config.annotations[SOURCE].as_str()),
        ("1", "api")
    );
    let ports: Vec<_> =
        config.port_mappings.iter().map(|p| (p.container_port, p.host_port, p.protocol)).collect();
    assert_eq!(ports, [(8080, 18080, 0), (5353, 0, 1)]);
    let linux = config.linux.expect("some");
    let resources = linux.resources.expect("some");
    assert_eq!(
        (resources.cpu_period, resources.cpu_shares, resources.memory_limit_in_bytes),
        (100_000, 10, 33_554_432)
    );
    assert_eq!((linux.overhead, linux.sysctls.len()), (Some(v1::LinuxContainerResources::default()), 0));
    let users = linux.security_context.and_then(|s| s.namespace_options).and_then(|n| n.userns_options);
    assert_eq!(users, Some(users::of_node()), "said, not left open");
}

#[test]
fn row_2_2_sysctls_are_written_with_dots() {
    let config = made(json!({"securityContext": {"sysctls": [
        {"name": "net/ipv4/conf/eth0.1/forwarding", "value": "1"}, {"name": "kernel.shm_rmid_forced", "value": "0"}]}}));
    let sysctls = config.linux.expect("some").sysctls;
    assert_eq!(sysctls["net.ipv4.conf.eth0/1.forwarding"], "1");
    assert_eq!((sysctls["kernel.shm_rmid_forced"].as_str(), sysctls.len()), ("0", 2));
}

#[test]
fn rows_7_8_and_7_15_overhead_is_told_apart_from_what_containers_take() {
    let config = made(json!({
        "overhead": {"cpu": "250m", "memory": "120Mi"},
        "containers": [{"name": "c", "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}}],
    }));
    let linux = config.linux.expect("some");
    let of = |r: Option<v1::LinuxContainerResources>| {
        let r = r.expect("some");
        (r.cpu_shares, r.cpu_quota, r.memory_limit_in_bytes)
    };
    assert_eq!(of(linux.resources), (102, 10_000, 64 << 20));
    assert_eq!(of(linux.overhead), (256, 25_000, 120 << 20));
}

#[test]
fn row_7_5_a_pod_in_the_nodes_network_has_no_name_of_its_own() {
    let config = made(json!({"hostNetwork": true}));
    assert_eq!(config.hostname, "");
}
