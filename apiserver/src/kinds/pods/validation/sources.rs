//! Where the values of variables and files come from.

use serde_json::Value;

use super::{Errors, invalid_all, required};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;
use crate::kinds::values::{items, string};

/// Fields of the pod that a variable can show, besides single labels and annotations.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Those that a file can show.
const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const ENV_SOURCES: &[&str] =
    &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// `env` and `envFrom` of a container.
pub(super) fn variables(container: &Value, path: &Path, errors: &mut Errors) {
    for (index, variable) in items(container, "env").iter().enumerate() {
        let path = path.child("env").index(index);
        let name = required(variable, "name", &path, errors);
        if !name.is_empty() {
            invalid_all(&names::env_name(name), name, &path.child("name"), errors);
        }
        if let Some(source) = variable.get("valueFrom") {
            value_from(source, !string(variable, "value").is_empty(), &path.child("valueFrom"), errors);
        }
    }
    for (index, source) in items(container, "envFrom").iter().enumerate() {
        let path = path.child("envFrom").index(index);
        let prefix = string(source, "prefix");
        if !prefix.is_empty() {
            invalid_all(&names::env_name(prefix), prefix, &path.child("prefix"), errors);
        }
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|kind| source.get(*kind).is_some()).collect();
        match given.as_slice() {
            [] => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(&path, "", detail));
            }
            [kind] => {
                required(&source[*kind], "name", &path.child(kind), errors);
            }
            _ => errors.push(FieldError::invalid(
                &path,
                "",
                "may not have more than one field specified at a time",
            )),
        }
    }
}

fn value_from(source: &Value, has_value: bool, path: &Path, errors: &mut Errors) {
    let given: Vec<&str> = ENV_SOURCES.iter().copied().filter(|kind| source.get(*kind).is_some()).collect();
    if given.is_empty() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::invalid(path, "", detail));
    } else if has_value {
        errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if given.len() > 1 {
        errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
    }
    for kind in given {
        let (reference, path) = (&source[kind], path.child(kind));
        match kind {
            "fieldRef" => field(reference, ENV_FIELDS, true, &path, errors),
            "resourceFieldRef" => resource(reference, false, &path, errors),
            "fileKeyRef" => {
                required(reference, "volumeName", &path, errors);
                required(reference, "key", &path, errors);
                super::local_path(required(reference, "path", &path, errors), &path.child("path"), errors);
            }
            _ => {
                required(reference, "name", &path, errors);
                let key = required(reference, "key", &path, errors);
                if !key.is_empty() {
                    invalid_all(&names::config_key(key), key, &path.child("key"), errors);
                }
            }
        }
    }
}

/// A reference to a field of the pod.
fn field(reference: &Value, supported: &[&str], subscripts_only: bool, path: &Path, errors: &mut Errors) {
    required(reference, "apiVersion", path, errors);
    let field = required(reference, "fieldPath", path, errors);
    let path = path.child("fieldPath");
    if field.is_empty() || supported.contains(&field) {
        return;
    }
    let subscript = field.strip_suffix("']").and_then(|f| f.split_once("['"));
    match subscript {
        Some(("metadata.labels" | "metadata.annotations", key)) => {
            let key =
                if field.starts_with("metadata.annotations") { key.to_lowercase() } else { key.to_owned() };
            invalid_all(&names::qualified_name(&key), &key, &path, errors);
        }
        _ if subscripts_only && FILE_FIELDS.contains(&field) => {
            errors.push(FieldError::not_supported(&path, field, supported));
        }
        _ if field.starts_with("metadata.") || field.starts_with("spec.") || field.starts_with("status.") => {
            errors.push(FieldError::not_supported(&path, field, supported));
        }
        _ => {
            let detail = format!("error converting fieldPath: field label not supported: {field}");
            errors.push(FieldError::invalid(&path, field, &detail));
        }
    }
}

/// A reference to a container's request or limit. Files must name the container.
fn resource(reference: &Value, in_file: bool, path: &Path, errors: &mut Errors) {
    if in_file {
        required(reference, "containerName", path, errors);
    }
    let resource = required(reference, "resource", path, errors);
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|p| resource.starts_with(p));
    if !resource.is_empty() && !huge && !RESOURCES.contains(&resource) {
        errors.push(FieldError::not_supported(&path.child("resource"), resource, RESOURCES));
    }
}

/// The files of a downward API volume.
pub(super) fn downward_files(files: &[Value], path: &Path, errors: &mut Errors) {
    for (index, file) in files.iter().enumerate() {
        let path = path.index(index);
        super::local_path(required(file, "path", &path, errors), &path.child("path"), errors);
        super::volumes::mode(file, "mode", &path, errors);
        match (file.get("fieldRef"), file.get("resourceFieldRef")) {
            (Some(reference), other) => {
                if other.is_some() {
                    let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                    errors.push(FieldError::invalid(&path, "resource", detail));
                }
                field(reference, FILE_FIELDS, false, &path.child("fieldRef"), errors);
            }
            (None, Some(reference)) => resource(reference, true, &path.child("resourceFieldRef"), errors),
            (None, None) => {
                let detail = "one of fieldRef and resourceFieldRef is required";
                errors.push(FieldError::required(&path.child("fieldRef"), detail));
            }
        }
    }
}
