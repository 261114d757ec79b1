//! The definitions, with what Kubernetes adds to them: kinds, patch strategies, list types.

use serde_json::{Map, Value, json};

use super::Dialect;
use crate::kinds::Body;
use crate::schema::lists::{self, ListType};
use crate::schema::{self, REFERENCE_PREFIX};

/// The definitions of some bodies and of all that they consist of.
pub(super) fn definitions(bodies: &[Body], dialect: Dialect) -> Map<String, Value> {
    let (mut generator, names) = schema::generator(bodies);
    let mut definitions = generator.take_definitions(false);
    for (name, definition) in &mut definitions {
        annotate(name, definition);
        adapt(definition, dialect);
    }
    for (body, name) in bodies.iter().zip(names) {
        if let Some(definition) = definitions.get_mut(&name) {
            definition["x-kubernetes-group-version-kind"] =
                json!([{ "group": body.group, "version": body.version, "kind": body.kind }]);
        }
    }
    definitions
}

/// How lists and maps merge.
fn annotate(name: &str, definition: &mut Value) {
    if lists::is_atomic_object(name) {
        definition["x-kubernetes-map-type"] = "atomic".into();
    }
    let Some(Value::Object(fields)) = definition.get_mut("properties") else { return };
    for (field, schema) in fields {
        if lists::is_atomic_map(name, field) {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        if schema["type"] != "array" {
            continue;
        }
        let Some(list) = lists::of(name, field) else {
            schema["x-kubernetes-list-type"] = "atomic".into();
            continue;
        };
        if let Some(strategy) = list.strategy() {
            schema["x-kubernetes-patch-strategy"] = strategy.into();
        }
        if !list.patch_key.is_empty() {
            schema["x-kubernetes-patch-merge-key"] = list.patch_key.into();
        }
        schema["x-kubernetes-list-type"] = match list.list_type {
            ListType::Atomic => "atomic".into(),
            ListType::Set => "set".into(),
            ListType::Map(keys) => {
                schema["x-kubernetes-list-map-keys"] = json!(keys);
                "map".into()
            }
        };
    }
}

/// Rewrites references. Version 3.0 allows nothing beside a reference, so that one with a description is wrapped.
fn adapt(schema: &mut Value, dialect: Dialect) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("x-kubernetes-int-or-string") {
                fields.remove("x-kubernetes-int-or-string");
                match dialect {
                    Dialect::V3 => {
                        fields
                            .insert("oneOf".to_owned(), json!([{ "type": "string" }, { "type": "number" }]));
                    }
                    Dialect::V2 => {
                        fields.insert("type".to_owned(), "string".into());
                        fields.insert("format".to_owned(), "int-or-string".into());
                    }
                }
            }
            let target =
                fields.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(REFERENCE_PREFIX));
            if let Some(target) = target {
                let reference = format!("{}{target}", dialect.reference_prefix());
                if dialect == Dialect::V3 && fields.len() > 1 {
                    fields.remove("$ref");
                    fields.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
                } else {
                    fields.insert("$ref".to_owned(), reference.into());
                }
                return;
            }
            fields.values_mut().for_each(|value| adapt(value, dialect));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| adapt(value, dialect)),
        _ => {}
    }
}
