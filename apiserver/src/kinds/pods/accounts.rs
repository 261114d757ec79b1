//! What a new pod gets from its service account (upstream's admission plugin `ServiceAccount`): the account `default` where it names
//! none, the volume with the account's token, and the account's pull secrets.

use serde_json::{Map, Value, json};

use crate::kinds::serviceaccounts::SERVICEACCOUNTS;
use crate::kinds::values::{child, items, objects_mut, string};
use crate::kinds::{AdmissionError, Cluster, text};
use crate::random;
use crate::tokens::request::POD_SECONDS;

pub(crate) const PLUGIN: &str = "ServiceAccount";
pub(crate) const DEFAULT_ACCOUNT: &str = "default";
/// The config map with the authority's certificate that every namespace has.
pub(crate) const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";
/// Where programs look for their token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";

type Fields = Map<String, Value>;

/// Switched off, the plugin still fills in the name: what a pod's account is does not depend on who mounts its token.
pub(super) fn admit(pod: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
    let on = cluster.admits(PLUGIN);
    if super::is_mirror(pod) {
        return if on { mirror(pod) } else { Ok(()) };
    }
    let namespace = text(pod, "/metadata/namespace").to_owned();
    let spec = child(pod, "spec");
    let named = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or("");
    let name = if named.is_empty() { DEFAULT_ACCOUNT } else { named }.to_owned();
    for field in ["serviceAccountName", "serviceAccount"] {
        spec.insert(field.to_owned(), name.as_str().into());
    }
    if !on {
        return Ok(());
    }
    let Some(account) = cluster.get(&SERVICEACCOUNTS, &namespace, &name) else {
        return Err(AdmissionError::Forbidden(format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        )));
    };
    let automount = |holder: Option<&Value>| holder.and_then(Value::as_bool);
    let wanted = automount(spec.get("automountServiceAccountToken"))
        .or_else(|| automount(account.get("automountServiceAccountToken")));
    if wanted.unwrap_or(true) {
        mount(spec);
    }
    let secrets = items(&account, "imagePullSecrets");
    if !secrets.is_empty() && spec.get("imagePullSecrets").and_then(Value::as_array).is_none_or(Vec::is_empty)
    {
        let names: Vec<Value> = secrets.iter().map(|s| json!({ "name": string(s, "name") })).collect();
        spec.insert("imagePullSecrets".to_owned(), names.into());
    }
    Ok(())
}

/// A mirror pod stands for one that needs nothing of the API.
fn mirror(pod: &Value) -> Result<(), AdmissionError> {
    let refuse = |what: &str| Err(AdmissionError::Forbidden(format!("a mirror pod may not {what}")));
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    if !string(spec, "serviceAccountName").is_empty() {
        return refuse("reference service accounts");
    }
    let volumes = items(spec, "volumes");
    let secret_volume = volumes.iter().any(|volume| volume.get("secret").is_some());
    let containers = ["initContainers", "containers"].into_iter().flat_map(|list| items(spec, list));
    let secret_variable = containers.into_iter().any(|container| {
        let variable = |e: &Value| e.pointer("/valueFrom/secretKeyRef").is_some();
        items(container, "env").iter().any(variable)
            || items(container, "envFrom").iter().any(|e| e.get("secretRef").is_some())
    });
    if secret_volume || secret_variable {
        return refuse("reference secrets");
    }
    let sources = volumes.iter().filter_map(|v| v.get("projected")).flat_map(|p| items(p, "sources"));
    if sources.into_iter().any(|source| source.get("serviceAccountToken").is_some()) {
        return refuse("use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Mounts the token into every container that has nothing there, and adds the volume if one needs it.
fn mount(spec: &mut Fields) {
    let volumes = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let existing = volumes.map(|v| string(v, "name")).find(|n| n.starts_with(VOLUME_PREFIX));
    let existing = existing.map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| random::name(VOLUME_PREFIX));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in objects_mut(spec, list) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|mount| string(mount, "mountPath") == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH }));
            needed = true;
        }
    }
    if needed
        && existing.is_none()
        && let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()
    {
        volumes.push(volume(&name));
    }
}

/// Token, certificate of the authority and namespace, as client libraries look for them.
fn volume(name: &str) -> Value {
    let namespace = json!({ "apiVersion": "v1", "fieldPath": "metadata.namespace" });
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                { "serviceAccountToken": { "expirationSeconds": POD_SECONDS, "path": "token" } },
                { "configMap": { "name": ROOT_CERTIFICATE, "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": namespace }] } },
            ],
        },
    })
}

#[cfg(test)]
mod tests;
