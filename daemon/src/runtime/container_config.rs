//! What the runtime is told about a container (behaviour.md 10.5 to 10.17).
//!
//! Labels and annotations are those that a kubelet writes, so that either agent can go on with the other's containers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cri_client::v1;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::json;

use super::environment::{self, Value, Variables};
use super::sandbox_config;
use super::security::{self, ImageUser, SecurityError};
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

/// What a container's configuration needs beside the pod.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) restart_count: u32,
    pub(crate) image_id: &'a str,
    /// Whom the image runs as.
    pub(crate) image_user: &'a ImageUser,
    pub(crate) variables: &'a Variables,
    /// The pod's user namespace.
    pub(crate) users: v1::UserNamespace,
    pub(crate) security: &'a security::Settings,
    /// The gate `ContainerStopSignals`.
    pub(crate) stop_signals: bool,
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
///
/// # Errors
/// The container would have rights that it must not have.
pub(crate) fn container_config(
    pod: &Pod,
    container: &Container,
    parts: &Parts<'_>,
) -> Result<v1::ContainerConfig, SecurityError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut labels = sandbox_config::pod_labels(pod).to_vec();
    labels.push((NAME_LABEL.to_owned(), container.name.clone()));
    let namespaces = namespaces(&spec, parts);
    let security = security::of_container(pod, container, namespaces, parts.image_user, parts.security)?;
    let mut mounts = mounts(&spec, container, parts);
    for mount in &mut mounts {
        // What is mounted belongs to the same users inside as without a namespace.
        mount.uid_mappings.clone_from(&parts.users.uids);
        mount.gid_mappings.clone_from(&parts.users.gids);
    }
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: parts.restart_count }),
        image: Some(v1::ImageSpec {
            image: parts.image_id.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: environment::expand_all(container.command.as_ref(), parts.variables),
        args: environment::expand_all(container.args.as_ref(), parts.variables),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: variables(parts.variables),
        mounts,
        labels: labels.into_iter().collect(),
        annotations: annotations(pod, container, parts.restart_count).into_iter().collect(),
        log_path: format!("{}/{}.log", container.name, parts.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources(pod, container, parts.limits)),
            security_context: Some(security),
        }),
        stop_signal: if parts.stop_signals { stop_signal(container) } else { 0 },
        ..Default::default()
    })
}

fn variables(variables: &Variables) -> Vec<v1::KeyValue> {
    let pair =
        |(key, value): (&String, &Value)| v1::KeyValue { key: key.clone(), value: value.as_ref().to_vec() };
    variables.iter().map(pair).collect()
}

/// As the runtime numbers it; its own default where the spec names none.
fn stop_signal(container: &Container) -> i32 {
    let named = container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref()).unwrap_or_default();
    // SIGRTMIN+1 is SIGNAL_SIGRTMINPLUS1.
    let name = format!("SIGNAL_{}", named.replace('+', "PLUS").replace('-', "MINUS"));
    v1::Signal::from_str_name(&name).unwrap_or(v1::Signal::RuntimeDefault) as i32
}

/// As the sandbox's, but for the processes that an ephemeral container is to see (behaviour.md 11.13).
fn namespaces(spec: &PodSpec, parts: &Parts<'_>) -> v1::NamespaceOption {
    let mut options = security::namespaces(spec, parts.users.clone());
    if let Some(id) = parts.target_id
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
        selinux_relabel: parts.security.selinux,
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
