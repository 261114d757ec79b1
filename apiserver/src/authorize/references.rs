//! Which objects a pod names.

use serde_json::Value;

use crate::kinds::text;
use crate::kinds::values::{items, string};

/// A kind of object that a node may read because of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Referent {
    /// The pod itself.
    Pod,
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
}

/// Annotation that marks the API's copy of a static pod.
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";
const CONTAINERS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

/// Where a volume names a secret.
const SECRET_VOLUMES: &[&str] = &[
    "/secret/secretName",
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/csi/nodePublishSecretRef/name",
    "/flexVolume/secretRef/name",
    "/iscsi/secretRef/name",
    "/rbd/secretRef/name",
    "/scaleIO/secretRef/name",
    "/storageos/secretRef/name",
];

/// Whether the pod names the object. A mirror pod names none but itself: a node makes it as it likes.
pub(super) fn names(pod: &Value, referent: Referent, name: &str) -> bool {
    if referent == Referent::Pod {
        return text(pod, "/metadata/name") == name;
    }
    if name.is_empty() || pod.pointer(MIRROR).is_some() {
        return false;
    }
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let volumes = items(spec, "volumes");
    match referent {
        Referent::Pod => false,
        Referent::ServiceAccount => string(spec, "serviceAccountName") == name,
        Referent::Claim => volumes.iter().any(|volume| {
            text(volume, "/persistentVolumeClaim/claimName") == name
                || volume.get("ephemeral").is_some_and(Value::is_object)
                    && name.strip_prefix(text(pod, "/metadata/name")).and_then(|rest| rest.strip_prefix('-'))
                        == Some(string(volume, "name"))
        }),
        Referent::Secret => {
            items(spec, "imagePullSecrets").iter().any(|s| string(s, "name") == name)
                || environment(spec, "/valueFrom/secretKeyRef/name", "/secretRef/name", name)
                || volumes.iter().any(|v| SECRET_VOLUMES.iter().any(|p| text(v, p) == name))
                || projected(volumes, "/secret/name", name)
        }
        Referent::ConfigMap => {
            environment(spec, "/valueFrom/configMapKeyRef/name", "/configMapRef/name", name)
                || volumes.iter().any(|v| text(v, "/configMap/name") == name)
                || projected(volumes, "/configMap/name", name)
        }
    }
}

fn environment(spec: &Value, variable: &str, source: &str, name: &str) -> bool {
    CONTAINERS.iter().flat_map(|list| items(spec, list)).any(|container| {
        items(container, "env").iter().any(|e| text(e, variable) == name)
            || items(container, "envFrom").iter().any(|e| text(e, source) == name)
    })
}

fn projected(volumes: &[Value], pointer: &str, name: &str) -> bool {
    let sources = volumes.iter().filter_map(|v| v.get("projected")).flat_map(|p| items(p, "sources"));
    sources.into_iter().any(|source| text(source, pointer) == name)
}

/// Whether the pod names any object but images and nodes.
pub(crate) fn any(pod: &Value) -> Option<&'static str> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let volumes = items(spec, "volumes");
    let set = |object: &Value, pointer: &str| !text(object, pointer).is_empty();
    let in_environment = |variable: &str, source: &str| {
        CONTAINERS.iter().flat_map(|list| items(spec, list)).any(|container| {
            items(container, "env").iter().any(|e| set(e, variable))
                || items(container, "envFrom").iter().any(|e| set(e, source))
        })
    };
    let in_projected = |field: &str| {
        let sources = volumes.iter().filter_map(|v| v.get("projected")).flat_map(|p| items(p, "sources"));
        sources.into_iter().any(|source| source.get(field).is_some_and(|f| !f.is_null()))
    };
    if set(spec, "/serviceAccountName") {
        Some("a service account")
    } else if !items(spec, "imagePullSecrets").is_empty()
        || in_environment("/valueFrom/secretKeyRef/name", "/secretRef/name")
        || volumes.iter().any(|v| SECRET_VOLUMES.iter().any(|p| set(v, p)))
        || in_projected("secret")
    {
        Some("secrets")
    } else if in_environment("/valueFrom/configMapKeyRef/name", "/configMapRef/name")
        || volumes.iter().any(|v| v.get("configMap").is_some())
        || in_projected("configMap")
    {
        Some("configmaps")
    } else if in_projected("clusterTrustBundle") {
        Some("clustertrustbundles")
    } else if volumes.iter().any(|v| v.get("persistentVolumeClaim").is_some()) {
        Some("persistentvolumeclaims")
    } else if in_projected("serviceAccountToken") {
        Some("service account tokens")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
