//! Static pods may not refer to API objects: they must run without the API server. behaviour.md 1.6.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec, Volume};

/// The first field that refers to an API object.
pub(super) fn find(spec: &PodSpec) -> Option<String> {
    let named = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    if named(&spec.service_account_name) {
        return Some("spec.serviceAccountName".to_owned());
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return Some("spec.resourceClaims".to_owned());
    }
    if spec.image_pull_secrets.as_ref().is_some_and(|secrets| !secrets.is_empty()) {
        return Some("spec.imagePullSecrets".to_owned());
    }
    let containers = spec.containers.iter().map(|c| ("containers", &c.env, &c.env_from));
    let init = spec.init_containers.iter().flatten().map(|c| ("initContainers", &c.env, &c.env_from));
    let ephemeral =
        spec.ephemeral_containers.iter().flatten().map(|c| ("ephemeralContainers", &c.env, &c.env_from));
    let mut index = 0;
    let mut list = "";
    for (name, env, env_from) in containers.chain(init).chain(ephemeral) {
        index = if name == list { index + 1 } else { 0 };
        list = name;
        if let Some(field) =
            in_environment(env.as_deref().unwrap_or_default(), env_from.as_deref().unwrap_or_default())
        {
            return Some(format!("spec.{list}[{index}].{field}"));
        }
    }
    let volumes = spec.volumes.iter().flatten().enumerate();
    volumes.filter_map(|(index, volume)| Some(format!("spec.volumes[{index}].{}", in_volume(volume)?))).next()
}

fn in_environment(env: &[EnvVar], env_from: &[EnvFromSource]) -> Option<String> {
    for (index, variable) in env.iter().enumerate() {
        let Some(from) = &variable.value_from else { continue };
        if from.secret_key_ref.is_some() {
            return Some(format!("env[{index}].valueFrom.secretKeyRef"));
        }
        if from.config_map_key_ref.is_some() {
            return Some(format!("env[{index}].valueFrom.configMapKeyRef"));
        }
    }
    for (index, from) in env_from.iter().enumerate() {
        if from.secret_ref.is_some() {
            return Some(format!("envFrom[{index}].secretRef"));
        }
        if from.config_map_ref.is_some() {
            return Some(format!("envFrom[{index}].configMapRef"));
        }
    }
    None
}

fn in_volume(volume: &Volume) -> Option<String> {
    for (refers, name) in [
        (volume.secret.is_some(), "secret"),
        (volume.config_map.is_some(), "configMap"),
        (volume.persistent_volume_claim.is_some(), "persistentVolumeClaim"),
        (volume.ephemeral.is_some(), "ephemeral"),
        (
            volume.csi.as_ref().is_some_and(|csi| csi.node_publish_secret_ref.is_some()),
            "csi.nodePublishSecretRef",
        ),
        (volume.flex_volume.as_ref().is_some_and(|flex| flex.secret_ref.is_some()), "flexVolume.secretRef"),
        (volume.iscsi.as_ref().is_some_and(|iscsi| iscsi.secret_ref.is_some()), "iscsi.secretRef"),
        (volume.cephfs.as_ref().is_some_and(|ceph| ceph.secret_ref.is_some()), "cephfs.secretRef"),
        (volume.rbd.as_ref().is_some_and(|rbd| rbd.secret_ref.is_some()), "rbd.secretRef"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.azure_file.is_some(), "azureFile"),
    ] {
        if refers {
            return Some(name.to_owned());
        }
    }
    let sources = volume.projected.iter().filter_map(|projected| projected.sources.as_ref()).flatten();
    for (index, source) in sources.enumerate() {
        for (refers, name) in [
            (source.secret.is_some(), "secret"),
            (source.config_map.is_some(), "configMap"),
            (source.service_account_token.is_some(), "serviceAccountToken"),
            (source.cluster_trust_bundle.is_some(), "clusterTrustBundle"),
            (source.pod_certificate.is_some(), "podCertificate"),
        ] {
            if refers {
                return Some(format!("projected.sources[{index}].{name}"));
            }
        }
    }
    None
}
