//! Runtime classes: names for handlers of the container runtime.

use std::str::FromStr as _;

use k8s_openapi::api::node::v1::RuntimeClass;
use podspec::Quantity;
use serde_json::Value;

use super::field::{FieldError, Path};
use super::values::{entries, string};
use super::{
    ALL_VERBS, Behaviour, Body, Kind, NameRule, Part, Scope, Storage, define, metadata, names, text,
};
use crate::table::{AGE, Column, Columns, NAME, cells};

pub(crate) static RUNTIMECLASSES: Kind = Kind {
    body: Body { group: "node.k8s.io", version: "v1", kind: "RuntimeClass", define: define::<RuntimeClass> },
    plural: "runtimeclasses",
    singular: "runtimeclass",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &RuntimeClasses,
    columns: Columns {
        definitions: &[
            NAME,
            Column::text("Handler", "The runtime's name for the configuration that pods of this class get."),
            AGE,
        ],
        cells: |object, now| {
            vec![cells::name(object), text(object, "/handler").into(), cells::age(object, now)]
        },
    },
};

#[derive(Debug)]
struct RuntimeClasses;

impl Behaviour for RuntimeClasses {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let handler = string(object, "handler");
        let problems = names::label(handler);
        errors.extend(problems.iter().map(|p| FieldError::invalid(&Path::new("handler"), handler, p)));
        if let Some(overhead) = object.get("overhead") {
            let path = Path::new("overhead").child("podFixed");
            for (name, amount) in entries(overhead, "podFixed") {
                let negative =
                    amount.as_str().and_then(|q| Quantity::from_str(q).ok()).is_some_and(|q| q.is_negative());
                if negative {
                    errors.push(FieldError::invalid(
                        &path.key(name),
                        amount,
                        "must be greater than or equal to 0",
                    ));
                }
            }
        }
        let selector = object.pointer("/scheduling/nodeSelector");
        metadata::labels(selector, &Path::new("scheduling").child("nodeSelector"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part, errors: &mut Vec<FieldError>) {
        if string(new, "handler") != string(old, "handler") {
            errors.push(FieldError::invalid(
                &Path::new("handler"),
                string(new, "handler"),
                "field is immutable",
            ));
        }
        self.validate(new, errors);
    }
}
