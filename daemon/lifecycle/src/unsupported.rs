//! Fields of a pod that this version does not carry out.
//!
//! Such a pod is not started without them: it waits and names the field. Each entry goes away with the issue that
//! brings it.

use k8s_openapi::api::core::v1::{Container, Pod as ApiPod, PodSpec, SecurityContext};
use serde::{Deserialize, Serialize};

/// Which of the parts around the machine there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supported {
    /// Somebody makes volumes.
    pub volumes: bool,
    /// Pods have cgroups of their own, which give them their resources as a whole.
    pub pod_cgroups: bool,
}

/// The path of each field of `pod` that is not carried out, with the name of the container it belongs to, if one.
pub fn unsupported_fields(pod: &ApiPod, supported: Supported) -> Vec<(Option<String>, String)> {
    let mut found = Vec::new();
    let Some(spec) = &pod.spec else { return found };
    for path in pod_fields(spec, supported) {
        found.push((None, format!("spec.{path}")));
    }
    let lists = [
        ("initContainers", spec.init_containers.as_deref().unwrap_or_default()),
        ("containers", &spec.containers),
    ];
    for (list, containers) in lists {
        for (i, container) in containers.iter().enumerate() {
            for path in container_fields(spec, container, supported) {
                found.push((Some(container.name.clone()), format!("spec.{list}[{i}].{path}")));
            }
        }
    }
    for (i, ephemeral) in spec.ephemeral_containers.iter().flatten().enumerate() {
        for path in container_fields(spec, &podspec::ephemeral_as_container(ephemeral), supported) {
            found.push((Some(ephemeral.name.clone()), format!("spec.ephemeralContainers[{i}].{path}")));
        }
    }
    found
}

fn set<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|l| !l.is_empty())
}

fn pod_fields(spec: &PodSpec, supported: Supported) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |used: bool, path: &str| {
        if used {
            found.push(path.to_owned());
        }
    };
    let security = spec.security_context.clone().unwrap_or_default();
    note(security != Default::default(), "securityContext");
    note(spec.host_ipc == Some(true), "hostIPC");
    note(spec.host_pid == Some(true), "hostPID");
    note(spec.host_users == Some(false), "hostUsers");
    note(spec.share_process_namespace == Some(true), "shareProcessNamespace");
    note(spec.runtime_class_name.is_some(), "runtimeClassName");
    note(spec.overhead.as_ref().is_some_and(|o| !o.is_empty()), "overhead");
    note(spec.resources.is_some() && !supported.pod_cgroups, "resources");
    note(set(&spec.resource_claims), "resourceClaims");
    note(set(&spec.host_aliases), "hostAliases");
    note(spec.dns_config.is_some(), "dnsConfig");
    note(spec.dns_policy.as_deref() == Some("None"), "dnsPolicy");
    note(spec.hostname_override.is_some(), "hostnameOverride");
    note(spec.set_hostname_as_fqdn == Some(true), "setHostnameAsFQDN");
    note(spec.subdomain.is_some(), "subdomain");
    note(spec.os.as_ref().is_some_and(|os| os.name != "linux"), "os");
    for (i, volume) in spec.volumes.iter().flatten().enumerate() {
        note(!supported.volumes && volume.image.is_none(), &format!("volumes[{i}]"));
    }
    found
}

fn container_fields(spec: &PodSpec, container: &Container, supported: Supported) -> Vec<String> {
    let is_image = |name: &str| {
        spec.volumes.iter().flatten().any(|volume| volume.name == name && volume.image.is_some())
    };
    let only_images = container.volume_mounts.iter().flatten().all(|mount| is_image(&mount.name));
    let mut found = Vec::new();
    let mut note = |used: bool, path: &str| {
        if used {
            found.push(path.to_owned());
        }
    };
    let stop_signal = container.lifecycle.as_ref().is_some_and(|l| l.stop_signal.is_some());
    note(stop_signal, "lifecycle.stopSignal");
    note(set(&container.env_from), "envFrom");
    note(set(&container.volume_mounts) && !supported.volumes && !only_images, "volumeMounts");
    note(set(&container.volume_devices), "volumeDevices");
    let security = container.security_context.clone().unwrap_or_default();
    // Capabilities are passed on; kubectl debug asks for some.
    let beyond = SecurityContext { capabilities: None, ..security };
    note(beyond != SecurityContext::default(), "securityContext");
    if let Some(resources) = &container.resources {
        note(set(&resources.claims), "resources.claims");
        let extended = |name: &String| !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        let names = resources.limits.iter().chain(resources.requests.iter()).flat_map(|m| m.keys());
        for name in names.filter(|n| extended(n)) {
            note(true, &format!("resources.limits[{name}]"));
        }
    }
    for (i, env) in container.env.iter().flatten().enumerate() {
        let Some(source) = &env.value_from else { continue };
        note(source.config_map_key_ref.is_some(), &format!("env[{i}].valueFrom.configMapKeyRef"));
        note(source.secret_key_ref.is_some(), &format!("env[{i}].valueFrom.secretKeyRef"));
        note(source.resource_field_ref.is_some(), &format!("env[{i}].valueFrom.resourceFieldRef"));
        note(source.file_key_ref.is_some(), &format!("env[{i}].valueFrom.fileKeyRef"));
    }
    found
}

#[cfg(test)]
mod tests;
