//! Fields of a pod that this version does not carry out.
//!
//! Such a pod is not started without them: it waits and names the field. Each entry goes away with the issue that
//! brings it; SPECIFICATION.md lists them with their reasons.

use k8s_openapi::api::core::v1::{Container, Pod as ApiPod, PodSpec, Volume};
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
    note(spec.resources.is_some() && !supported.pod_cgroups, "resources");
    note(set(&spec.resource_claims), "resourceClaims");
    for (i, volume) in spec.volumes.iter().flatten().enumerate() {
        match volume_field(volume) {
            _ if volume.image.is_some() => {}
            _ if !supported.volumes => note(true, &format!("volumes[{i}]")),
            Some(field) => note(true, &format!("volumes[{i}].{field}")),
            None => {}
        }
    }
    found
}

/// The part of a volume that nobody makes.
fn volume_field(volume: &Volume) -> Option<String> {
    let made = volume.empty_dir.is_some()
        || volume.host_path.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.persistent_volume_claim.is_some();
    if made {
        return None;
    }
    let Some(projected) = &volume.projected else {
        // By the name that the API gives it.
        let fields = serde_json::to_value(volume).ok()?;
        let kind = fields.as_object()?.keys().find(|key| *key != "name").cloned();
        return Some(kind.unwrap_or_else(|| "name".to_owned()));
    };
    projected.sources.iter().flatten().enumerate().find_map(|(i, source)| {
        let kind = match () {
            () if source.cluster_trust_bundle.is_some() => "clusterTrustBundle",
            () if source.pod_certificate.is_some() => "podCertificate",
            () => return None,
        };
        Some(format!("projected.sources[{i}].{kind}"))
    })
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
    note(set(&container.volume_mounts) && !supported.volumes && !only_images, "volumeMounts");
    note(set(&container.volume_devices), "volumeDevices");
    if let Some(resources) = &container.resources {
        note(set(&resources.claims), "resources.claims");
        let is_known = |name: &str| {
            matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
        };
        let extended = |name: &String| !is_known(name);
        let names = resources.limits.iter().chain(resources.requests.iter()).flat_map(|m| m.keys());
        for name in names.filter(|n| extended(n)) {
            note(true, &format!("resources.limits[{name}]"));
        }
    }
    found
}

#[cfg(test)]
mod tests;
