//! What the runtime is told about a pod's sandbox (behaviour.md 7.5 to 7.9).

use std::collections::HashMap;
use std::path::Path;

use cri_client::v1;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use podspec::ResourceList;

use super::dns::Resolver;
use crate::cgroups::Limits;

const SOURCE: &str = "kubernetes.io/config.source";
const SEEN: &str = "kubernetes.io/config.seen";
/// The kubelet cuts host names here (behaviour.md 8.13).
const MAX_HOSTNAME: usize = 63;

/// The configuration of sandbox number `attempt` of `pod`.
pub(crate) fn sandbox_config(
    pod: &Pod,
    attempt: u32,
    log_dir: &Path,
    dns: Resolver,
    limits: &Limits,
) -> v1::PodSandboxConfig {
    let meta = &pod.metadata;
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let mut labels: HashMap<String, String> = meta.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(pod_labels(pod));
    let mut annotations: HashMap<String, String> =
        meta.annotations.clone().unwrap_or_default().into_iter().collect();
    annotations.entry(SOURCE.to_owned()).or_insert_with(|| "api".to_owned());
    annotations.entry(SEEN.to_owned()).or_insert_with(|| jiff::Timestamp::now().to_string());
    let host_network = spec.host_network.unwrap_or(false);
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: part(&meta.name),
            uid: part(&meta.uid),
            namespace: part(&meta.namespace),
            attempt,
        }),
        hostname: if host_network { String::new() } else { hostname(pod, &spec) },
        log_directory: log_dir.to_string_lossy().into_owned(),
        dns_config: Some(v1::DnsConfig {
            servers: dns.servers,
            searches: dns.searches,
            options: dns.options,
        }),
        port_mappings: port_mappings(&spec),
        labels: labels.into_iter().collect(),
        annotations: annotations.into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(&spec)),
                supplemental_groups: groups(&spec),
                seccomp: Some(v1::SecurityProfile::default()),
                ..Default::default()
            }),
            overhead: Some(v1::LinuxContainerResources::default()),
            resources: Some(resources(
                &podspec::pod_requests(pod),
                &podspec::pod_limits(pod),
                limits.policy.cpu_period_us,
            )),
            ..Default::default()
        }),
    }
}

/// The labels by which the runtime's objects are known to be of this pod.
pub(crate) fn pod_labels(pod: &Pod) -> [(String, String); 3] {
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    [
        ("io.kubernetes.pod.name".to_owned(), part(&pod.metadata.name)),
        ("io.kubernetes.pod.namespace".to_owned(), part(&pod.metadata.namespace)),
        ("io.kubernetes.pod.uid".to_owned(), part(&pod.metadata.uid)),
    ]
}

/// The groups that each process has beside its own: the one that owns the volumes.
pub(crate) fn groups(spec: &PodSpec) -> Vec<i64> {
    spec.security_context.iter().filter_map(|security| security.fs_group).collect()
}

/// Network of the node or of the pod; the process namespace of each container is its own; no user namespaces.
pub(crate) fn namespaces(spec: &PodSpec) -> v1::NamespaceOption {
    let network =
        if spec.host_network.unwrap_or(false) { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    v1::NamespaceOption {
        network: network as i32,
        pid: v1::NamespaceMode::Container as i32,
        ipc: v1::NamespaceMode::Pod as i32,
        userns_options: Some(v1::UserNamespace {
            mode: v1::NamespaceMode::Node as i32,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn hostname(pod: &Pod, spec: &PodSpec) -> String {
    let name = spec.hostname.clone().filter(|h| !h.is_empty()).or_else(|| pod.metadata.name.clone());
    let mut name = name.unwrap_or_default();
    if name.len() > MAX_HOSTNAME {
        name.truncate(name.floor_char_boundary(MAX_HOSTNAME));
        name.truncate(name.trim_end_matches(['-', '.']).len());
    }
    name
}

fn port_mappings(spec: &PodSpec) -> Vec<v1::PortMapping> {
    let ports = spec.containers.iter().flat_map(|c| c.ports.iter().flatten());
    ports
        .map(|p| v1::PortMapping {
            protocol: match p.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: p.container_port,
            host_port: p.host_port.unwrap_or(0),
            host_ip: p.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// Shares from the requests, quota and memory from the limits (behaviour.md 21.3 to 21.6); without a period there are no
/// quotas.
pub(crate) fn resources(
    requests: &ResourceList,
    limits: &ResourceList,
    period_us: Option<u64>,
) -> v1::LinuxContainerResources {
    let milli = |list: &ResourceList, name: &str| list.get(name).map(podspec::Quantity::milli_value);
    let cpu_limit = milli(limits, "cpu").and_then(|m| u64::try_from(m).ok()).filter(|m| *m > 0);
    let cpu_request = milli(requests, "cpu").and_then(|m| u64::try_from(m).ok()).filter(|m| *m > 0);
    let shares = cgroups::cpu_shares(cpu_request.or(cpu_limit).unwrap_or(0));
    let quota = period_us.zip(cpu_limit).and_then(|(period, milli)| cgroups::cpu_quota_us(milli, period));
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    v1::LinuxContainerResources {
        cpu_shares: signed(shares),
        cpu_period: period_us.map_or(0, signed),
        cpu_quota: quota.map_or(0, signed),
        memory_limit_in_bytes: limits.get("memory").map_or(0, podspec::Quantity::value),
        ..Default::default()
    }
}
