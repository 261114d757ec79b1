//! What may change in a pod that exists.

use serde_json::{Map, Value, json};

use super::{admission, validation};
use crate::kinds::Half;
use crate::kinds::field::{FieldError, Path};
use crate::kinds::values::{as_object, child, items, number, string};
use crate::kinds::{metadata, text};

const MIRROR: &str = "kubernetes.io/config.mirror";
const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn mirror_annotation(pod: &Value) -> Option<&Value> {
    pod.pointer("/metadata/annotations").and_then(|a| a.get(MIRROR))
}

/// Whether the pod stands for one that a node has from a file.
pub(crate) fn is_mirror(pod: &Value) -> bool {
    mirror_annotation(pod).is_some()
}

pub(super) fn prepare(new: &mut Value, old: &Value, half: Half) {
    match half {
        Half::Main => {
            // What admission computed stays, also if a manifest that is replaced does not know it.
            let spec = child(new, "spec");
            for field in ["priority", "preemptionPolicy"] {
                if let Some(value) = old.pointer("/spec").and_then(|s| s.get(field)) {
                    spec.entry(field).or_insert_with(|| value.clone());
                }
            }
            admission::tolerations(new);
        }
        Half::Status => {
            match old.pointer("/metadata/ownerReferences") {
                Some(owners) => metadata::of(new).insert("ownerReferences".to_owned(), owners.clone()),
                None => metadata::of(new).remove("ownerReferences"),
            };
            if text(new, "/status/qosClass").is_empty() && !text(old, "/status/qosClass").is_empty() {
                child(new, "status").insert("qosClass".to_owned(), text(old, "/status/qosClass").into());
            }
        }
    }
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
    for gate in items(new_spec, "schedulingGates").iter().filter(|g| !known_gates.contains(g)) {
        let detail =
            format!("only deletion is allowed, but found new scheduling gate '{}'", string(gate, "name"));
        errors.push(FieldError::forbidden(&path.child("schedulingGates"), &detail));
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

/// A spec without what may change, and without the empty texts that stand for nothing.
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
    drop_empty(&mut spec);
    spec
}

fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, v| !v.is_null() && v.as_str() != Some(""));
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
    let mut changed = Vec::new();
    compare(&new, &old, &Path::new("spec"), &mut changed);
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

/// What a status may not say.
pub(super) fn validate_status(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("status");
    let (before, after) = (text(old, "/status/qosClass"), text(new, "/status/qosClass"));
    if !before.is_empty() && before != after {
        errors.push(FieldError::invalid(&path.child("qosClass"), after, "field is immutable"));
    }
    let restart_policy = text(old, "/spec/restartPolicy");
    if restart_policy == "Always" {
        return;
    }
    for list in ["containerStatuses", "initContainerStatuses"] {
        let spec_list = if list == "containerStatuses" { "containers" } else { "initContainers" };
        let statuses = |pod: &Value| items(pod.get("status").unwrap_or(&Value::Null), list).to_vec();
        let ended = statuses(old);
        for (index, status) in statuses(new).iter().enumerate() {
            let name = string(status, "name");
            let own_policy = items(old.get("spec").unwrap_or(&Value::Null), spec_list)
                .iter()
                .any(|c| string(c, "name") == name && !string(c, "restartPolicy").is_empty());
            let Some(terminated) =
                ended.iter().find(|s| string(s, "name") == name).and_then(|s| s.pointer("/state/terminated"))
            else {
                continue;
            };
            let failed = terminated.get("exitCode") != Some(&json!(0));
            let may_restart = own_policy || (failed && restart_policy == "OnFailure");
            if !may_restart && status.pointer("/state/terminated").is_none() {
                let path = path.child(list).index(index).child("state");
                errors.push(FieldError::forbidden(&path, "may not be transitioned to non-terminated state"));
            }
        }
    }
}
