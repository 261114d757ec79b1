//! Ephemeral containers: what they have in common with the others, and what they cannot have (behaviour.md 11.13).

use std::collections::HashSet;

use serde_json::Value;

use super::Errors;
use super::containers::{self, PodWide};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::values::{items, string};

const REFUSED: &str = "cannot be set for an Ephemeral Container";
/// What only containers can have that the pod's work relies on.
const REFUSED_FIELDS: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// `names` are those of all other containers.
pub(super) fn all<'a>(
    spec: &'a Value,
    wide: &PodWide<'_>,
    names: &HashSet<&'a str>,
    path: &Path,
    errors: &mut Errors,
) {
    let mut seen = names.clone();
    for (index, container) in items(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.child("ephemeralContainers").index(index);
        containers::any(container, wide, &path, errors);
        let name = string(container, "name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let target = string(container, "targetContainerName");
        if !target.is_empty() && !names.contains(target) {
            errors.push(FieldError::not_found(&path.child("targetContainerName"), target));
        }
        for field in REFUSED_FIELDS.iter().filter(|f| container.get(**f).is_some_and(|v| is_set(f, v))) {
            errors.push(FieldError::forbidden(&path.child(field), REFUSED));
        }
        for (index, mount) in items(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !string(mount, field).is_empty() {
                    let path = path.child("volumeMounts").index(index).child(field);
                    errors.push(FieldError::forbidden(&path, REFUSED));
                }
            }
        }
    }
}

/// Empty lists and empty resources say nothing, and the latter are always there.
fn is_set(field: &str, value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => field != "resources" || !fields.is_empty(),
        _ => true,
    }
}
