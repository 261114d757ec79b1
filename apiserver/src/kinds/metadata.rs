//! The rules for `metadata`, and the split of spec and status, that hold for all kinds.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::field::{FieldError, Path};
use super::{Kind, NameRule, Part, names, text, values};

/// All annotations of an object together, keys and values, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;
/// A suffix of this many characters is added to `generateName`.
const GENERATED_SUFFIX: usize = 5;
/// Finalizers without a domain that may be set.
const PLAIN_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
/// What only the server sets.
const SERVER_FIELDS: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

/// The `metadata` object, made if there is none.
pub(crate) fn of(object: &mut Value) -> &mut Map<String, Value> {
    values::child(object, "metadata")
}

pub(super) fn prepare_create(kind: &Kind, object: &mut Value) {
    if kind.subresource("status").is_some()
        && !kind.behaviour.status_at_creation()
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
    let metadata = of(object);
    for field in SERVER_FIELDS.iter().chain(&["managedFields"]) {
        metadata.remove(*field);
    }
    if kind.generation {
        metadata.insert("generation".to_owned(), 1.into());
    }
}

pub(super) fn prepare_update(kind: &Kind, new: &mut Value, old: &Value, part: Part) {
    let old_metadata = old.get("metadata").and_then(Value::as_object);
    let metadata = of(new);
    metadata.remove("managedFields");
    for field in SERVER_FIELDS {
        match old_metadata.and_then(|m| m.get(*field)) {
            Some(value) => metadata.insert((*field).to_owned(), value.clone()),
            None => metadata.remove(*field),
        };
    }
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    match part {
        Part::Main if kind.subresource("status").is_some() => restore(new, old, "status"),
        Part::Main => {}
        // What of the spec may change is the kind's to say.
        Part::EphemeralContainers | Part::Resize => {
            for field in ["metadata", "status"] {
                restore(new, old, field);
            }
        }
        Part::Status | Part::Approval => {
            let kept = |name: &str| !matches!(name, "metadata" | "status" | "apiVersion" | "kind");
            let restored: Vec<String> = new.keys().chain(old.keys()).filter(|n| kept(n)).cloned().collect();
            for field in restored {
                restore(new, old, &field);
            }
        }
    }
}

fn restore(new: &mut Map<String, Value>, old: &Map<String, Value>, field: &str) {
    match old.get(field) {
        Some(value) => new.insert(field.to_owned(), value.clone()),
        None => new.remove(field),
    };
}

/// Counts the generation up if anything but metadata and status has changed.
pub(super) fn count_generation(kind: &Kind, new: &mut Value, old: &Value) {
    if !kind.generation {
        return;
    }
    let counted = |object: &Value| {
        let mut fields = object.as_object().cloned().unwrap_or_default();
        for field in ["metadata", "status", "apiVersion", "kind"] {
            fields.remove(field);
        }
        fields
    };
    if counted(new) != counted(old) {
        advance_generation(new);
    }
}

fn advance_generation(object: &mut Value) {
    let metadata = of(object);
    let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or(0);
    metadata.insert("generation".to_owned(), (generation + 1).into());
}

/// Marks an object as being deleted, with `grace` seconds from `now`. A generation that counts goes up at the first mark (as
/// upstream's does). An object that is marked already keeps the earlier time if the new one is not earlier.
pub(crate) fn mark_deleted(object: &mut Value, now: Timestamp, grace: i64) {
    let marked: Option<Timestamp> = text(object, "/metadata/deletionTimestamp").parse().ok();
    let already = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    let deadline = match (marked, already) {
        (Some(_), Some(before)) if before <= grace => return,
        // A shorter period counts from when the object was first marked.
        (Some(first), Some(before)) => first.as_second() - before + grace,
        (Some(_), None) => return,
        (None, _) => now.as_second() + grace,
    };
    let deadline = Timestamp::from_second(deadline.max(now.as_second())).unwrap_or(now);
    if marked.is_none() && object.pointer("/metadata/generation").is_some() {
        advance_generation(object);
    }
    let metadata = of(object);
    metadata
        .insert("deletionTimestamp".to_owned(), deadline.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
}

/// Everything in `metadata`.
pub(super) fn validate(kind: &Kind, object: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("metadata");
    let name = text(object, "/metadata/name");
    let prefix = text(object, "/metadata/generateName");
    if !prefix.is_empty() {
        let example = format!("{prefix}{}", "a".repeat(GENERATED_SUFFIX));
        // The suffix fills the room that is left: only the form of the prefix counts.
        let problems = name_problems(kind.name_rule, &example);
        let form = problems.into_iter().filter(|p| !p.starts_with("must be no more than"));
        errors.extend(form.map(|p| FieldError::invalid(&path.child("generateName"), prefix, &p)));
    }
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        let problems = name_problems(kind.name_rule, name);
        errors.extend(problems.iter().map(|p| FieldError::invalid(&path.child("name"), name, p)));
    }
    namespace(kind, text(object, "/metadata/namespace"), &path.child("namespace"), errors);
    let Some(metadata) = object.get("metadata") else { return };
    labels(metadata.get("labels"), &path.child("labels"), errors);
    annotations(metadata.get("annotations"), &path.child("annotations"), errors);
    owner_references(metadata.get("ownerReferences"), &path.child("ownerReferences"), errors);
    finalizers(metadata.get("finalizers"), &path.child("finalizers"), errors);
}

fn namespace(kind: &Kind, namespace: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if !kind.namespaced() {
        if !namespace.is_empty() {
            errors.push(FieldError::forbidden(path, "not allowed on this type"));
        }
    } else if namespace.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        errors.extend(names::label(namespace).iter().map(|p| FieldError::invalid(path, namespace, p)));
    }
}

fn name_problems(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => names::subdomain(name),
        NameRule::Label => names::label(name),
        NameRule::Label1035 => names::label_1035(name),
        NameRule::PathSegment => names::path_segment(name),
    }
}

/// A map of labels, wherever it stands.
pub(super) fn labels(labels: Option<&Value>, path: &Path, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(names::qualified_name(key).iter().map(|p| FieldError::invalid(path, key, p)));
        let value = value.as_str().unwrap_or("");
        errors.extend(names::label_value(value).iter().map(|p| FieldError::invalid(path, value, p)));
    }
}

fn annotations(annotations: Option<&Value>, path: &Path, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        let problems = names::qualified_name(&key.to_lowercase());
        errors.extend(problems.iter().map(|p| FieldError::invalid(path, key, p)));
        size += key.len() + value.as_str().unwrap_or("").len();
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long(path, ANNOTATIONS_LIMIT));
    }
}

fn owner_references(references: Option<&Value>, path: &Path, errors: &mut Vec<FieldError>) {
    let mut controller: Option<&str> = None;
    for (index, owner) in references.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = path.index(index);
        let version = text(owner, "/apiVersion");
        if version.rsplit('/').next().is_none_or(str::is_empty) {
            errors.push(FieldError::invalid(&path.child("apiVersion"), version, "version must not be empty"));
        }
        for field in ["kind", "name", "uid"] {
            if owner.get(field).and_then(Value::as_str).unwrap_or("").is_empty() {
                errors.push(FieldError::invalid(&path.child(field), "", "must not be empty"));
            }
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let name = text(owner, "/name");
            if let Some(first) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                let list = Path::new("metadata").child("ownerReferences");
                errors.push(FieldError::invalid(&list, owner, &detail));
            }
            controller = Some(name);
        }
    }
}

fn finalizers(finalizers: Option<&Value>, path: &Path, errors: &mut Vec<FieldError>) {
    for name in finalizers.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        errors.extend(names::qualified_name(name).iter().map(|p| FieldError::invalid(path, name, p)));
        if !name.contains('/') && !PLAIN_FINALIZERS.contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(path, name, detail));
        }
    }
}

/// What an update may not do to `metadata`; the rest was put back before.
pub(super) fn validate_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("metadata");
    for field in ["name", "namespace"] {
        let at = format!("/metadata/{field}");
        if text(new, &at) != text(old, &at) {
            errors.push(FieldError::invalid(&path.child(field), text(new, &at), "field is immutable"));
        }
    }
    if text(old, "/metadata/deletionTimestamp").is_empty() {
        return;
    }
    let finalizers = |object: &Value| -> Vec<String> {
        let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let before = finalizers(old);
    let added: Vec<String> = finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
    if !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
        );
        errors.push(FieldError::forbidden(&path.child("finalizers"), &detail));
    }
}
