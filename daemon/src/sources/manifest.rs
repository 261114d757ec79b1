//! One manifest's text to one static pod: decoded, named after the node, defaulted, checked, and given its UID.
//! behaviour.md 1.5, 1.6.

use std::fmt::Write as _;
use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, PodStatus, Toleration};
use md5::{Digest, Md5};
use serde_json::Value;

use super::{CONFIG_HASH, Source, defaults, references, stamp, validation};
use crate::config::{Document, decode_document, parse_document};

/// A usable static pod and what its author should be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub pod: Pod,
    /// Fields of the file that mean nothing in a pod, each with file and line.
    pub unknown_fields: Vec<String>,
}

/// The manifest cannot be run. The message has one line for each thing that is wrong, with file, line and field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

/// What a manifest is completed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) node_name: &'a str,
    /// `PreventStaticPodAPIReferences`.
    pub(super) refuse_references: bool,
    /// Where the manifest comes from: its path is a URL where that is [`Source::Http`].
    pub(super) source: Source,
}

pub(super) fn read(text: &str, path: &Path, context: Context<'_>) -> Result<Manifest, ManifestError> {
    let document = parse_document(text, path).map_err(ManifestError)?;
    let located = |field: &str, message: &str| match document.origins.of(field) {
        Some(origin) => format!("{origin}: {field}: {message}"),
        None => format!("{}: {field}: {message}", path.display()),
    };
    let header = |field: &str, wanted: &str| match document.value.get(field).and_then(Value::as_str) {
        Some(found) if found == wanted => Ok(()),
        _ => Err(ManifestError(located(field, &format!("must be {wanted}")))),
    };
    header("apiVersion", "v1")?;
    header("kind", "Pod")?;
    let mut pod: Pod =
        decode_document(&document).map_err(|(field, message)| ManifestError(located(&field, &message)))?;
    let unknown_fields =
        unknown_fields(&document, &pod).iter().map(|field| located(field, "is no field of a pod")).collect();

    complete(&mut pod, path, context);
    let mut problems = validation::problems(&pod);
    if context.refuse_references
        && let Some(field) = pod.spec.as_ref().and_then(references::find)
    {
        problems.push((field, "a static pod may not refer to objects of the API".to_owned()));
    }
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(|(field, message)| located(field, message)).collect();
        return Err(ManifestError(lines.join("\n")));
    }
    Ok(Manifest { pod, unknown_fields })
}

/// Fills in what a kubelet fills in, in its order: the UID is computed before name and namespace are changed.
fn complete(pod: &mut Pod, path: &Path, context: Context<'_>) {
    let Context { node_name, source, .. } = context;
    defaults::apply(pod);
    let metadata = &mut pod.metadata;
    metadata.managed_fields = None;
    metadata.resource_version = None;
    metadata.creation_timestamp = None;
    if metadata.uid.as_deref().is_none_or(str::is_empty) {
        metadata.uid = None;
        let uid = uid(pod, path, context);
        pod.metadata.uid = Some(uid);
    }
    let metadata = &mut pod.metadata;
    let name = metadata.name.take().unwrap_or_default();
    metadata.name = Some(format!("{name}-{}", node_name.to_lowercase()));
    if metadata.namespace.as_deref().is_none_or(str::is_empty) {
        metadata.namespace = Some("default".to_owned());
    }
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node_name.to_owned());
        // It comes with the node and stays with it, whatever taints the node gets.
        if source == Source::File {
            spec.tolerations.get_or_insert_default().push(Toleration {
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                ..Toleration::default()
            });
        }
    }
    let hash = pod.metadata.uid.clone().unwrap_or_default();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.retain(|name, _| !super::LOCAL_ANNOTATIONS.contains(&name.as_str()));
    annotations.insert(CONFIG_HASH.to_owned(), hash);
    stamp(pod, source);
    pod.status = Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
}

/// MD5 over the defaulted pod, the node and the file. A kubelet dumps its Go object where this takes the JSON form, so the UID
/// is as stable but not the same one.
fn uid(pod: &Pod, path: &Path, context: Context<'_>) -> String {
    let mut hash = Md5::new();
    hash.update(serde_json::to_vec(pod).expect("a pod has a JSON form: its maps have text keys"));
    hash.update(format!("host:{}", context.node_name));
    let kind = if context.source == Source::Http { "url" } else { "file" };
    hash.update(format!("{kind}:{}", path.display()));
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Fields of the document that the typed pod has not taken up.
fn unknown_fields(document: &Document, pod: &Pod) -> Vec<String> {
    let Ok(taken) = serde_json::to_value(pod) else { return Vec::new() };
    let mut fields = Vec::new();
    compare(&document.value, &taken, &mut String::new(), &mut fields);
    fields
}

fn compare(given: &Value, taken: &Value, field: &mut String, unknown: &mut Vec<String>) {
    let length = field.len();
    match (given, taken) {
        (Value::Object(given), Value::Object(taken)) => {
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                if !field.is_empty() {
                    field.push('.');
                }
                field.push_str(name);
                match taken.get(name) {
                    Some(taken) => compare(value, taken, field, unknown),
                    None => unknown.push(field.clone()),
                }
                field.truncate(length);
            }
        }
        (Value::Array(given), Value::Array(taken)) => {
            for (index, (given, taken)) in given.iter().zip(taken).enumerate() {
                let _ = write!(field, "[{index}]");
                compare(given, taken, field, unknown);
                field.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
