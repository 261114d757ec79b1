//! What the runtime is told about a container (behaviour.md 10.5 to 10.17).
//!
//! Labels and annotations are those that a kubelet writes, so that either agent can go on with the other's containers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cri_client::v1;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::json;

use super::environment::{self, Addresses, EnvironmentError};
use super::sandbox_config;
use crate::cgroups::Limits;
use crate::pod_volumes::Mounts;

pub(crate) const HASH: &str = "io.kubernetes.container.hash";
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(crate) const NAME_LABEL: &str = "io.kubernetes.container.name";
pub(crate) const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
pub(crate) const PORTS: &str = "io.kubernetes.container.ports";
pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";

const ETC_HOSTS: &str = "/etc/hosts";

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container's configuration needs beside the pod.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) restart_count: u32,
    pub(crate) image_id: &'a str,
    pub(crate) addresses: Addresses<'a>,
    /// The pod's hosts file on the node, where the container is to see it.
    pub(crate) etc_hosts: Option<PathBuf>,
    /// The file that takes the container's termination message, where it has one.
    pub(crate) termination_log: Option<PathBuf>,
    /// What containers of this node are held to.
    pub(crate) limits: &'a Limits,
    /// What it mounts of the pod's volumes, by their place in its list.
    pub(crate) mounts: Mounts,
    /// Ids of the images that are mounted, by the volume's name.
    pub(crate) volume_images: &'a BTreeMap<String, String>,
    /// The container whose processes this one is to see: the runtime's id.
    pub(crate) target_id: Option<&'a str>,
}

/// The configuration of `container` of `pod`.
pub(crate) fn container_config(
    pod: &Pod,
    container: &Container,
    parts: &Parts<'_>,
) -> Result<v1::ContainerConfig, EnvironmentError> {
    let variables = environment::variables(pod, container, parts.addresses)?;
    let spec = pod.spec.clone().unwrap_or_default();
    let mut labels = sandbox_config::pod_labels(pod).to_vec();
    labels.push((NAME_LABEL.to_owned(), container.name.clone()));
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: parts.restart_count }),
        image: Some(v1::ImageSpec {
            image: parts.image_id.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: environment::expand_all(container.command.as_ref(), &variables),
        args: environment::expand_all(container.args.as_ref(), &variables),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: variables.into_iter().map(|(key, value)| v1::KeyValue { key, value: value.into() }).collect(),
        mounts: mounts(&spec, container, parts),
        labels: labels.into_iter().collect(),
        annotations: annotations(pod, container, parts.restart_count).into_iter().collect(),
        log_path: format!("{}/{}.log", container.name, parts.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources(pod, container, parts.limits)),
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(namespaces(&spec, parts.target_id)),
                capabilities: capabilities(container),
                supplemental_groups: sandbox_config::groups(&spec),
                masked_paths: MASKED.iter().map(|p| (*p).to_owned()).collect(),
                readonly_paths: READ_ONLY.iter().map(|p| (*p).to_owned()).collect(),
                seccomp: Some(v1::SecurityProfile {
                    profile_type: v1::security_profile::ProfileType::Unconfined as i32,
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }),
        ..Default::default()
    })
}

fn capabilities(container: &Container) -> Option<v1::Capability> {
    let wanted = container.security_context.as_ref()?.capabilities.as_ref()?;
    Some(v1::Capability {
        add_capabilities: wanted.add.clone().unwrap_or_default(),
        drop_capabilities: wanted.drop.clone().unwrap_or_default(),
        ..Default::default()
    })
}

/// As the sandbox's, but for the processes that an ephemeral container is to see (behaviour.md 11.13).
fn namespaces(spec: &PodSpec, target_id: Option<&str>) -> v1::NamespaceOption {
    let mut options = sandbox_config::namespaces(spec);
    if let Some(id) = target_id
        && options.pid == v1::NamespaceMode::Container as i32
    {
        options.pid = v1::NamespaceMode::Target as i32;
        options.target_id = id.to_owned();
    }
    options
}

fn annotations(pod: &Pod, container: &Container, restart_count: u32) -> Vec<(String, String)> {
    let or = |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
    let mut all = vec![
        (HASH.to_owned(), podspec::container_hash(container)),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (MESSAGE_PATH.to_owned(), or(&container.termination_message_path, "/dev/termination-log")),
        (MESSAGE_POLICY.to_owned(), or(&container.termination_message_policy, "File")),
    ];
    let seconds = |s: i64| s.to_string();
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        all.push(("io.kubernetes.pod.deletionGracePeriod".to_owned(), seconds(grace)));
    }
    if let Some(grace) = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds) {
        all.push(("io.kubernetes.pod.terminationGracePeriod".to_owned(), seconds(grace)));
    }
    if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) {
        // For whoever has to stop the container without the pod's object.
        let hook = serde_json::to_string(hook).unwrap_or_default();
        all.push((PRE_STOP.to_owned(), hook));
    }
    if let Some(ports) = ports(container) {
        all.push((PORTS.to_owned(), ports));
    }
    all
}

/// The ports as JSON with the fields in the order of the API's type, those that are not set left out.
fn ports(container: &Container) -> Option<String> {
    let ports = container.ports.as_deref().filter(|p| !p.is_empty())?;
    let each: Vec<String> = ports
        .iter()
        .map(|p| {
            let mut fields = Vec::new();
            if let Some(name) = p.name.as_ref().filter(|n| !n.is_empty()) {
                fields.push(format!("\"name\":{}", json!(name)));
            }
            if let Some(port) = p.host_port.filter(|p| *p != 0) {
                fields.push(format!("\"hostPort\":{port}"));
            }
            fields.push(format!("\"containerPort\":{}", p.container_port));
            if let Some(protocol) = p.protocol.as_ref().filter(|p| !p.is_empty()) {
                fields.push(format!("\"protocol\":{}", json!(protocol)));
            }
            if let Some(ip) = p.host_ip.as_ref().filter(|ip| !ip.is_empty()) {
                fields.push(format!("\"hostIP\":{}", json!(ip)));
            }
            format!("{{{}}}", fields.join(","))
        })
        .collect();
    Some(format!("[{}]", each.join(",")))
}

fn mounts(spec: &PodSpec, container: &Container, parts: &Parts<'_>) -> Vec<v1::Mount> {
    let bind = |container_path: &str, host_path: &PathBuf| v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..Default::default()
    };
    let mut all: Vec<v1::Mount> = container
        .volume_mounts
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(index, mount)| {
            if let Some(mount) = parts.mounts.get(&index) {
                return Some(mount.clone());
            }
            // The runtime mounts images, and always read-only (behaviour.md 13.9).
            let id = parts.volume_images.get(&mount.name)?;
            let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
            let reference = volume.image.as_ref().and_then(|i| i.reference.clone());
            Some(v1::Mount {
                container_path: mount.mount_path.clone(),
                readonly: true,
                image: Some(v1::ImageSpec {
                    image: id.clone(),
                    user_specified_image: reference.unwrap_or_default(),
                    ..Default::default()
                }),
                image_sub_path: mount.sub_path.clone().unwrap_or_default(),
                ..Default::default()
            })
        })
        .collect();
    // A container may bring its own (behaviour.md 8.12).
    let brings_hosts = all.iter().any(|mount| mount.container_path == ETC_HOSTS);
    if let Some(hosts) = parts.etc_hosts.as_ref().filter(|_| !brings_hosts) {
        all.push(bind(ETC_HOSTS, hosts));
    }
    if let Some(file) = &parts.termination_log {
        let path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        all.push(bind(path, file));
    }
    all
}

/// The container's resources in the runtime interface's form.
pub(crate) fn resources(pod: &Pod, container: &Container, limits: &Limits) -> v1::LinuxContainerResources {
    let all = limits.container(pod, container);
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    v1::LinuxContainerResources {
        cpu_shares: signed(all.cpu_shares),
        cpu_quota: all.cpu_quota_us,
        cpu_period: signed(all.cpu_period_us),
        memory_limit_in_bytes: signed(all.memory_limit_bytes),
        memory_swap_limit_in_bytes: signed(all.memory_swap_limit_bytes),
        oom_score_adj: i64::from(all.oom_score_adj),
        unified: all.unified.into_iter().collect(),
        hugepage_limits: all
            .huge_pages
            .into_iter()
            .map(|(page_size, limit)| v1::HugepageLimit { page_size, limit })
            .collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
