//! Storage classes: how claims that name one are served.

use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use super::field::{FieldError, Path};
use super::values::{as_object, default_text, string};
use super::{ALL_VERBS, Behaviour, Body, Cluster, Kind, NameRule, Part, Scope, Storage, define, names, text};
use crate::table::volumes::CLASS_COLUMNS;

pub(crate) static STORAGECLASSES: Kind = Kind {
    body: Body {
        group: "storage.k8s.io",
        version: "v1",
        kind: "StorageClass",
        define: define::<StorageClass>,
    },
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Classes,
    columns: CLASS_COLUMNS,
};

const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const BINDING_MODES: &[&str] = &["Immediate", "WaitForFirstConsumer"];
const RECLAIM_POLICIES: &[&str] = &["Delete", "Retain"];

/// Whether claims without a class are to have this one.
pub(crate) fn is_default(class: &Value) -> bool {
    let annotations = class.pointer("/metadata/annotations");
    let says = |key: &&str| annotations.and_then(|a| a.get(*key)).is_some_and(|v| v == "true");
    DEFAULT_ANNOTATIONS.iter().any(says)
}

/// The default class; of several the newest, of those the first by name (as upstream).
pub(crate) fn default_of(cluster: &dyn Cluster) -> Option<String> {
    let mut defaults: Vec<_> =
        cluster.list(&STORAGECLASSES).into_iter().filter(|class| is_default(class)).collect();
    let created = |class: &Value| text(class, "/metadata/creationTimestamp").to_owned();
    defaults.sort_by(|a, b| {
        created(b).cmp(&created(a)).then_with(|| text(a, "/metadata/name").cmp(text(b, "/metadata/name")))
    });
    defaults.first().map(|class| text(class, "/metadata/name").to_owned())
}

#[derive(Debug)]
struct Classes;

impl Behaviour for Classes {
    fn defaults(&self, class: &mut Value) {
        let fields = as_object(class);
        default_text(fields, "reclaimPolicy", "Delete");
        default_text(fields, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, class: &Value, errors: &mut Vec<FieldError>) {
        let (provisioner, path) = (string(class, "provisioner"), Path::new("provisioner"));
        if provisioner.is_empty() {
            errors.push(FieldError::required(&path, provisioner));
        } else {
            let problems = names::qualified_name(&provisioner.to_lowercase());
            errors.extend(problems.iter().map(|p| FieldError::invalid(&path, provisioner, p)));
        }
        for (field, supported) in [("reclaimPolicy", RECLAIM_POLICIES), ("volumeBindingMode", BINDING_MODES)]
        {
            let value = string(class, field);
            if !supported.contains(&value) {
                errors.push(FieldError::not_supported(&Path::new(field), value, supported));
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part, errors: &mut Vec<FieldError>) {
        const DETAIL: &str = "updates to {} are forbidden.";
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if new.get(field) != old.get(field) {
                errors.push(FieldError::forbidden(&Path::new(field), &DETAIL.replace("{}", field)));
            }
        }
        if new.get("volumeBindingMode") != old.get("volumeBindingMode") {
            let mode = string(new, "volumeBindingMode");
            let path = Path::new("volumeBindingMode");
            errors.push(FieldError::invalid(&path, mode, "field is immutable"));
        }
        self.validate(new, errors);
    }
}
