//! `pods/ephemeralcontainers`: containers that are added to a pod that runs, and stay.

use std::collections::HashMap;

use serde_json::Value;

use super::update::{self, is_mirror};
use super::validation;
use crate::kinds::field::{FieldError, Path, quote};
use crate::kinds::values::{child, items, string};

const LIST: &str = "ephemeralContainers";

/// Of the new spec only the list of ephemeral containers counts.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let wanted = new.get("spec").and_then(|s| s.get(LIST)).cloned();
    let spec = child(new, "spec");
    *spec = old.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
    match wanted {
        Some(list) => spec.insert(LIST.to_owned(), list),
        None => spec.remove(LIST),
    };
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    validation::pod(new, errors);
    if is_mirror(old) {
        let detail = "static pods do not support ephemeral containers";
        *errors = vec![FieldError::forbidden(&Path::unnamed(), detail)];
        return;
    }
    let path = Path::new("spec").child(LIST);
    let none = Value::Null;
    let list = |pod: &'_ Value| items(pod.get("spec").unwrap_or(&none), LIST).to_vec();
    let wanted = list(new);
    // A patch does not keep the order.
    let places: HashMap<&str, usize> =
        wanted.iter().enumerate().map(|(index, c)| (string(c, "name"), index)).collect();
    for container in &list(old) {
        let name = string(container, "name");
        let Some(&index) = places.get(name) else {
            let detail = format!("existing ephemeral containers {} may not be removed\n", quote(name));
            errors.push(FieldError::forbidden(&path, &detail));
            continue;
        };
        let changed = update::differences(&wanted[index], container, &path.index(index));
        if !changed.is_empty() {
            let detail = format!(
                "existing ephemeral containers {} may not be changed\nchanged: {}",
                quote(name),
                changed.join(", ")
            );
            errors.push(FieldError::forbidden(&path, &detail));
        }
    }
}
