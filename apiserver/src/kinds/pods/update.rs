//! What may change in a pod that exists.

use serde_json::{Map, Value};

use super::{admission, validation};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::values::{as_object, child, items, number, string};

const MIRROR: &str = "kubernetes.io/config.mirror";
const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn mirror_annotation(pod: &Value) -> Option<&Value> {
    pod.pointer("/metadata/annotations").and_then(|a| a.get(MIRROR))
}

/// Whether the pod stands for one that a node has from a file.
pub(crate) fn is_mirror(pod: &Value) -> bool {
    mirror_annotation(pod).is_some()
}

/// What admission computed stays, also if a manifest that is replaced does not know it.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let spec = child(new, "spec");
    for field in ["priority", "preemptionPolicy"] {
        if let Some(value) = old.pointer("/spec").and_then(|s| s.get(field)) {
            spec.entry(field).or_insert_with(|| value.clone());
        }
    }
    admission::tolerations(new);
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let none = Value::Null;
    let (new_spec, old_spec) = (new.get("spec").unwrap_or(&none), old.get("spec").unwrap_or(&none));
    let path = Path::new("spec");
    if mirror_annotation(new) != mirror_annotation(old) {
        let path = Path::new("metadata").child("annotations").key(MIRROR);
        let shown = mirror_annotation(new).and_then(Value::as_str).unwrap_or("");
        errors.push(FieldError::invalid(&path, shown, "may not add, remove or update mirror pod annotation"));
    }
    for list in ["containers", "initContainers"] {
        if items(new_spec, list).len() != items(old_spec, list).len() {
            errors.push(FieldError::forbidden(
                &path.child(list),
                "pod updates may not add or remove containers",
            ));
            return;
        }
    }
    validation::pod(new, errors);
    active_deadline(new_spec, old_spec, &path, errors);
    tolerations(new_spec, old_spec, &path, errors);
    let known_gates = items(old_spec, "schedulingGates");
    let gates = items(new_spec, "schedulingGates").iter().enumerate();
    for (index, gate) in gates.filter(|(_, gate)| !known_gates.contains(gate)) {
        let detail =
            format!("only deletion is allowed, but found new scheduling gate '{}'", string(gate, "name"));
        let path = path.child("schedulingGates").index(index).child("name");
        errors.push(FieldError::forbidden(&path, &detail));
    }
    let changed = changed_fields(new_spec, old_spec);
    if !changed.is_empty() {
        errors.push(FieldError::forbidden(&path, &format!("{CHANGEABLE}\nchanged: {}", changed.join(", "))));
    }
}

fn active_deadline(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "activeDeadlineSeconds";
    let Some(before) = number(old, FIELD) else { return };
    match number(new, FIELD) {
        Some(after) if after <= before => {}
        Some(after) => {
            let detail = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(&path.child(FIELD), after, detail));
        }
        None => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(&path.child(FIELD), &Value::Null, detail));
        }
    }
}

fn tolerations(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let bare = |toleration: &Value| {
        let mut fields = toleration.as_object().cloned().unwrap_or_default();
        fields.remove("tolerationSeconds");
        fields
    };
    let kept: Vec<Map<String, Value>> = items(new, "tolerations").iter().map(bare).collect();
    if !items(old, "tolerations").iter().map(bare).all(|t| kept.contains(&t)) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(&path.child("tolerations"), detail));
    }
}

/// A spec without what may change.
fn fixed_part(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let fields = as_object(&mut spec);
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        fields.remove(field);
    }
    for list in ["containers", "initContainers"] {
        for container in fields.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            as_object(container).remove("image");
        }
    }
    spec
}

/// Takes away the empty texts and lists that stand for nothing.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let says = |v: &Value| {
                !v.is_null() && v.as_str() != Some("") && v.as_array().is_none_or(|a| !a.is_empty())
            };
            fields.retain(|_, v| says(v));
            fields.values_mut().for_each(drop_empty);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// How many changed fields a message names.
const NAMED_LIMIT: usize = 10;

/// The paths of what differs but must not.
fn changed_fields(new: &Value, old: &Value) -> Vec<String> {
    let (mut new, old) = (fixed_part(new), fixed_part(old));
    let grace = "terminationGracePeriodSeconds";
    if number(&old, grace).is_some_and(|g| g < 0) && number(&new, grace) == Some(1) {
        new[grace] = old[grace].clone();
    }
    differences(&new, &old, &Path::new("spec"))
}

/// Whether two values say the same.
pub(super) fn same(new: &Value, old: &Value) -> bool {
    differences(new, old, &Path::root()).is_empty()
}

/// Where two values differ, below this path.
pub(super) fn differences(new: &Value, old: &Value, path: &Path) -> Vec<String> {
    let (mut new, mut old) = (new.clone(), old.clone());
    drop_empty(&mut new);
    drop_empty(&mut old);
    let mut changed = Vec::new();
    compare(&new, &old, path, &mut changed);
    changed.truncate(NAMED_LIMIT);
    changed
}

fn compare(new: &Value, old: &Value, path: &Path, changed: &mut Vec<String>) {
    match (new, old) {
        _ if new == old || changed.len() > NAMED_LIMIT => {}
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            for name in names {
                let value = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare(&value(a), &value(b), &path.child(name), changed);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| compare(a, b, &path.index(i), changed));
        }
        _ => changed.push(path.to_string()),
    }
}
