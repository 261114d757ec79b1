//! Config maps.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::field::{FieldError, Path};
use super::values::{entries, is_true};
use super::{ALL_VERBS, Behaviour, Body, Kind, NameRule, Part, Scope, Storage, define, names};
use crate::table::{AGE, Column, Columns, NAME, cells};

/// All data of a config map or secret together, in bytes.
pub(crate) const DATA_LIMIT: usize = 1024 * 1024;

pub(crate) static CONFIGMAPS: Kind = Kind {
    body: Body { group: "", version: "v1", kind: "ConfigMap", define: define::<ConfigMap> },
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &ConfigMaps,
    columns: COLUMNS,
};

const COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::number("Data", "The number of entries, of text and of binary data together."),
        AGE,
    ],
    cells: |object, now| {
        let entries = cells::count(object, "/data") + cells::count(object, "/binaryData");
        vec![cells::name(object), entries.into(), cells::age(object, now)]
    },
};

#[derive(Debug)]
struct ConfigMaps;

impl Behaviour for ConfigMaps {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let mut size = 0;
        for field in ["data", "binaryData"] {
            let path = Path::new(field);
            for (key, value) in entries(object, field) {
                errors.extend(
                    names::config_key(key).iter().map(|p| FieldError::invalid(&path.key(key), key, p)),
                );
                if field == "data" && object.pointer("/binaryData").is_some_and(|b| b.get(key).is_some()) {
                    errors.push(FieldError::invalid(
                        &path.key(key),
                        key,
                        "duplicate of key present in binaryData",
                    ));
                }
                let text = value.as_str().unwrap_or("").len();
                size += if field == "data" { text } else { text / 4 * 3 };
            }
        }
        if size > DATA_LIMIT {
            errors.push(FieldError::too_long(&Path::new("data"), DATA_LIMIT));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part, errors: &mut Vec<FieldError>) {
        immutable(new, old, &["data", "binaryData"], errors);
        self.validate(new, errors);
    }
}

/// Objects that say `immutable: true` keep it, and the named fields.
pub(super) fn immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !is_true(old, "immutable") {
        return;
    }
    if !is_true(new, "immutable") {
        errors.push(FieldError::forbidden(&Path::new("immutable"), DETAIL));
    }
    let content = |object: &Value, field: &str| {
        object.get(field).filter(|v| v.as_object().is_some_and(|m| !m.is_empty())).cloned()
    };
    for field in fields {
        if content(new, field) != content(old, field) {
            errors.push(FieldError::forbidden(&Path::new(field), DETAIL));
        }
    }
}
