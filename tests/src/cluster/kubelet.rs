//! The configuration of one nodelet.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Map, Value, json};

/// What a node's configuration depends on.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// The node's directory.
    pub(super) dir: &'a Path,
    pub(super) client_ca: &'a Path,
    pub(super) runtime: &'a Path,
    pub(super) ip: Ipv4Addr,
    pub(super) healthz_port: u16,
    /// Fields that a test wants otherwise.
    pub(super) overrides: &'a Map<String, Value>,
}

/// A `KubeletConfiguration`, in JSON. Each node listens on an address of its own, so that all have the usual port.
pub(super) fn configuration(settings: &Settings<'_>) -> Value {
    let Settings { dir, client_ca, runtime, ip, healthz_port, overrides } = settings;
    let mut configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ip,
        "port": 10250,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": healthz_port,
        "authentication": {
            "anonymous": { "enabled": false },
            "x509": { "clientCAFile": client_ca },
        },
        "containerRuntimeEndpoint": format!("unix://{}", runtime.display()),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "staticPodPath": dir.join("manifests"),
        "podLogsDir": dir.join("pods"),
        // The disk is shared with whoever works on this machine: images stay, and only one that is really full is a reason to evict.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
    });
    if let Some(fields) = configuration.as_object_mut() {
        fields.extend(overrides.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    configuration
}
