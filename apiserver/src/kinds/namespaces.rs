//! Namespaces.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use super::field::{FieldError, Path};
use super::values::{child, items};
use super::{
    Behaviour, Body, Deletion, Kind, NameRule, Part, Scope, Storage, Subresource, define, metadata, names,
    text, values,
};
use crate::table::{AGE, Column, Columns, NAME, cells};

const NAMESPACE: Body = Body { group: "", version: "v1", kind: "Namespace", define: define::<Namespace> };

pub(crate) static NAMESPACES: Kind = Kind {
    body: NAMESPACE,
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[
        Subresource { name: "finalize", body: NAMESPACE, verbs: &["update"] },
        Subresource { name: "status", body: NAMESPACE, verbs: &["get", "patch", "update"] },
    ],
    storage: Storage::Own,
    name_rule: NameRule::Label,
    generation: false,
    behaviour: &Namespaces,
    columns: Columns {
        definitions: &[
            NAME,
            Column::text("Status", "Whether the namespace is in use or being taken down."),
            AGE,
        ],
        cells: |object, now| {
            vec![cells::name(object), text(object, "/status/phase").into(), cells::age(object, now)]
        },
    },
};

/// The label that every namespace has, with its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The finalizer that holds a namespace until its contents are gone.
const FINALIZER: &str = "kubernetes";

/// What a cluster cannot do without (as upstream).
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

#[derive(Debug)]
struct Namespaces;

impl Behaviour for Namespaces {
    fn defaults(&self, object: &mut Value) {
        let name = text(object, "/metadata/name").to_owned();
        if !name.is_empty() {
            values::child_of(metadata::of(object), "labels").insert(NAME_LABEL.to_owned(), name.into());
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        let mut finalizers = items(object.get("spec").unwrap_or(&Value::Null), "finalizers").to_vec();
        if !finalizers.contains(&FINALIZER.into()) {
            finalizers.push(FINALIZER.into());
        }
        child(object, "spec").insert("finalizers".to_owned(), finalizers.into());
        child(object, "status").insert("phase".to_owned(), "Active".into());
    }

    /// The finalizers change through `/finalize` only.
    fn prepare_update(&self, new: &mut Value, old: &Value, _part: Part) {
        let finalizers = old.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([]));
        child(new, "spec").insert("finalizers".to_owned(), finalizers);
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::new("spec").child("finalizers");
        let finalizers = object.pointer("/spec/finalizers").and_then(Value::as_array);
        for name in finalizers.into_iter().flatten().filter_map(Value::as_str) {
            errors.extend(names::qualified_name(name).iter().map(|p| FieldError::invalid(&path, name, p)));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part, errors: &mut Vec<FieldError>) {
        self.validate(new, errors);
        let phase = text(new, "/status/phase");
        let deleted = !text(old, "/metadata/deletionTimestamp").is_empty();
        if part == Part::Status && deleted != (phase == "Terminating") {
            let path = Path::new("status").child("phase");
            let detail = if deleted {
                "may only be 'Terminating' if `deletionTimestamp` is not empty"
            } else {
                "may only be 'Active' if `deletionTimestamp` is empty"
            };
            errors.push(FieldError::invalid(&path, phase, detail));
        }
    }

    fn field<'a>(&self, object: &'a Value, field: &str) -> Option<Cow<'a, str>> {
        match field {
            "status.phase" => Some(text(object, "/status/phase").into()),
            "name" => Some(text(object, "/metadata/name").into()),
            _ => None,
        }
    }

    fn deletion(&self, object: &Value, _requested: Option<i64>) -> Deletion {
        if IMMORTAL.contains(&text(object, "/metadata/name")) {
            Deletion::Never("this namespace may not be deleted")
        } else {
            Deletion::Contents
        }
    }
}
