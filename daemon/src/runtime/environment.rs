//! The environment, command and arguments of a container (behaviour.md 16), as far as they need no other object.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod};
use thiserror::Error;

/// Why a container's environment cannot be put together.
#[derive(Debug, Error)]
pub(crate) enum EnvironmentError {
    /// The field cannot be had as an environment variable.
    #[error("env \"{name}\": fieldPath \"{path}\" is not supported")]
    UnknownField {
        /// The variable.
        name: String,
        /// The path as written.
        path: String,
    },
}

/// What is known about a pod only at the time when a container is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses<'a> {
    /// Of the pod, the primary one first.
    pub(crate) pod_ips: &'a [String],
    /// Of the node, the primary one first.
    pub(crate) host_ips: &'a [String],
}

/// The variables in the order in which they are written; a later one of the same name replaces an earlier one.
pub(crate) fn variables(
    pod: &Pod,
    container: &Container,
    addresses: Addresses<'_>,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut names: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for env in container.env.iter().flatten() {
        let field = env.value_from.as_ref().and_then(|v| v.field_ref.as_ref());
        let value = match (env.value.as_deref(), field) {
            // A value that is not empty goes before any source (behaviour.md 16.2).
            (Some(text), _) if !text.is_empty() => expand(text, &values),
            (_, Some(field)) => self::field(pod, field, addresses).ok_or_else(|| {
                EnvironmentError::UnknownField { name: env.name.clone(), path: field.field_path.clone() }
            })?,
            _ => String::new(),
        };
        if values.insert(env.name.clone(), value).is_none() {
            names.push(env.name.clone());
        }
    }
    Ok(names.into_iter().map(|n| (n.clone(), values.remove(&n).unwrap_or_default())).collect())
}

/// Replaces `$(NAME)` in each word; see [`expand`].
pub(crate) fn expand_all(words: Option<&Vec<String>>, variables: &[(String, String)]) -> Vec<String> {
    let known: BTreeMap<String, String> = variables.iter().cloned().collect();
    words.into_iter().flatten().map(|w| expand(w, &known)).collect()
}

/// Replaces `$(NAME)` in each word of a probe's command: only what stands in the container's own `env` is known, as it is written
/// there (behaviour.md 16.3).
pub(crate) fn expanded_by_static(words: &[String], container: &Container) -> Vec<String> {
    let given = container.env.iter().flatten();
    let known = given.map(|env| (env.name.clone(), env.value.clone().unwrap_or_default())).collect();
    words.iter().map(|word| expand(word, &known)).collect()
}

/// Replaces `$(NAME)` by the variable's value; `$$` stands for `$`, and a name that is not known stays as it is.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = tail.strip_prefix('(') {
            match inner.find(')') {
                Some(end) => {
                    let name = &inner[..end];
                    match known.get(name) {
                        Some(value) => out.push_str(value),
                        None => out.extend(["$(", name, ")"]),
                    }
                    rest = &inner[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = inner;
                }
            }
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

fn field(pod: &Pod, field: &ObjectFieldSelector, addresses: Addresses<'_>) -> Option<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let path = field.field_path.as_str();
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = key("metadata.labels") {
        return Some(meta.labels.as_ref().and_then(|l| l.get(key)).cloned().unwrap_or_default());
    }
    if let Some(key) = key("metadata.annotations") {
        return Some(meta.annotations.as_ref().and_then(|a| a.get(key)).cloned().unwrap_or_default());
    }
    Some(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => addresses.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => addresses.host_ips.join(","),
        "status.podIP" => addresses.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => addresses.pod_ips.join(","),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
