//! What a pod can be told about itself in files (behaviour.md 16.5, 16.6, 20.9).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, Pod, ResourceFieldSelector};
use podspec::{ResourceFieldError, ResourceList};
use thiserror::Error;

use crate::payload::{File, PathError, Payload, mode};

/// Why a field cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DownwardError {
    /// There is no such field, or not in a file.
    #[error("fieldPath {0:?} is not supported")]
    Field(String),
    /// See [`ResourceFieldError`].
    #[error(transparent)]
    Resource(#[from] ResourceFieldError),
    /// The item says neither.
    #[error("path {0} has neither a fieldRef nor a resourceFieldRef")]
    Neither(String),
    /// See [`PathError`].
    #[error(transparent)]
    Path(#[from] PathError),
}

/// The files of `items`. `allocatable` is what the node has for pods: what a container is not limited in, it may use all of.
///
/// # Errors
/// All that is wrong.
pub fn payload(
    items: &[DownwardAPIVolumeFile],
    default_mode: u32,
    pod: &Pod,
    allocatable: &ResourceList,
) -> Result<Payload, Vec<DownwardError>> {
    let mut payload = Payload::default();
    let mut wrong = Vec::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => self::field(pod, &field.field_path),
            (_, Some(resource)) => self::resource(pod, resource, allocatable),
            (None, None) => Err(DownwardError::Neither(item.path.clone())),
        };
        let file = text.map(|text| File {
            bytes: text.into_bytes(),
            mode: mode(item.mode, default_mode),
            owner: None,
        });
        if let Err(error) = file.and_then(|file| payload.add(&item.path, file).map_err(Into::into)) {
            wrong.push(error);
        }
    }
    if wrong.is_empty() { Ok(payload) } else { Err(wrong) }
}

/// The text of a field of the pod.
///
/// # Errors
/// There is no such field.
pub fn field(pod: &Pod, path: &str) -> Result<String, DownwardError> {
    let meta = &pod.metadata;
    let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = key("metadata.labels") {
        return Ok(entry(&meta.labels, key));
    }
    if let Some(key) = key("metadata.annotations") {
        return Ok(entry(&meta.annotations, key));
    }
    let text = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
        _ => return Err(DownwardError::Field(path.to_owned())),
    };
    Ok(text.unwrap_or_default())
}

/// One line for each entry, sorted, the value in quotes.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

/// As Go quotes a text.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c if c < '\u{80}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if !c.is_whitespace() && c.escape_debug().len() == 1 => out.push(c),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// An amount of the resources of a container, which has to be named.
fn resource(
    pod: &Pod,
    selector: &ResourceFieldSelector,
    allocatable: &ResourceList,
) -> Result<String, DownwardError> {
    let name = selector.container_name.as_deref().unwrap_or_default();
    let mut all = pod.spec.iter().flat_map(podspec::containers).map(|(_, container)| container);
    let container = all.find(|container| container.name == name);
    let container = container.ok_or_else(|| ResourceFieldError::NoContainer(name.to_owned()))?;
    Ok(podspec::resource_field(selector, pod, container, allocatable)?)
}

#[cfg(test)]
mod tests;
