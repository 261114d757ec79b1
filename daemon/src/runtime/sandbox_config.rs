//! What the runtime is told about a pod's sandbox (behaviour.md 7.5 to 7.9).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use cri_client::v1;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use podspec::ResourceList;

use super::dns::Resolver;
use super::security;
use crate::cgroups::Limits;

const SOURCE: &str = "kubernetes.io/config.source";
const SEEN: &str = "kubernetes.io/config.seen";

/// What a sandbox's configuration needs beside the pod.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) attempt: u32,
    pub(crate) log_dir: &'a Path,
    pub(crate) resolver: Resolver,
    /// What the kernel is to say that the pod is called.
    pub(crate) hostname: String,
    /// Its user namespace.
    pub(crate) users: v1::UserNamespace,
    /// What containers of this node are held to.
    pub(crate) limits: &'a Limits,
}

/// The configuration of a sandbox of `pod`.
pub(crate) fn sandbox_config(pod: &Pod, parts: Parts<'_>) -> v1::PodSandboxConfig {
    let meta = &pod.metadata;
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let mut labels: HashMap<String, String> = meta.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(pod_labels(pod));
    let mut annotations: HashMap<String, String> =
        meta.annotations.clone().unwrap_or_default().into_iter().collect();
    annotations.entry(SOURCE.to_owned()).or_insert_with(|| "api".to_owned());
    annotations.entry(SEEN.to_owned()).or_insert_with(|| jiff::Timestamp::now().to_string());
    let Parts { attempt, log_dir, resolver, hostname, users, limits } = parts;
    let period_us = limits.policy.cpu_period_us;
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: part(&meta.name),
            uid: part(&meta.uid),
            namespace: part(&meta.namespace),
            attempt,
        }),
        hostname: if spec.host_network == Some(true) { String::new() } else { hostname },
        log_directory: log_dir.to_string_lossy().into_owned(),
        dns_config: Some(v1::DnsConfig {
            servers: resolver.servers,
            searches: resolver.searches,
            options: resolver.options,
        }),
        port_mappings: port_mappings(&spec),
        labels: labels.into_iter().collect(),
        annotations: annotations.into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            security_context: Some(security::of_sandbox(pod, security::namespaces(&spec, users))),
            sysctls: sysctls(&spec),
            overhead: Some(overhead(&spec, period_us)),
            resources: Some(own_resources(pod, period_us)),
            ..Default::default()
        }),
    }
}

/// Whatever the spelling, the runtime gets dots (behaviour.md 2.2).
fn sysctls(spec: &PodSpec) -> HashMap<String, String> {
    let all = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    all.map(|sysctl| (podspec::dotted_sysctl(&sysctl.name), sysctl.value.clone())).collect()
}

/// What the sandbox itself takes (behaviour.md 7.8).
fn overhead(spec: &PodSpec, period_us: Option<u64>) -> v1::LinuxContainerResources {
    let Some(overhead) = spec.overhead.as_ref().filter(|overhead| !overhead.is_empty()) else {
        return v1::LinuxContainerResources::default();
    };
    let parsed = overhead.iter().filter_map(|(name, amount)| Some((name.clone(), amount.0.parse().ok()?)));
    let amounts: ResourceList = parsed.collect();
    resources(&amounts, &amounts, period_us)
}

/// What the containers take, without the overhead.
fn own_resources(pod: &Pod, period_us: Option<u64>) -> v1::LinuxContainerResources {
    let has_overhead = pod.spec.as_ref().is_some_and(|spec| spec.overhead.is_some());
    let mut pod = Cow::Borrowed(pod);
    if has_overhead && let Some(spec) = &mut pod.to_mut().spec {
        spec.overhead = None;
    }
    resources(&podspec::pod_requests(&pod), &podspec::pod_limits(&pod), period_us)
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

#[cfg(test)]
mod tests;
