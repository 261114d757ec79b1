//! Priority classes, and the two that always exist.

use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::{Value, json};

use super::field::{FieldError, Path};
use super::values::{default_text, is_true, number, string};
use super::{
    ALL_VERBS, AdmissionError, Behaviour, Body, Cluster, Deletion, Kind, NameRule, Part, Scope, Storage,
    define, text, values,
};
use crate::table::{AGE, Column, Columns, NAME, cells};

/// The highest value that a class of a user may have.
const USER_LIMIT: i64 = 1_000_000_000;
/// Names with this prefix belong to the system.
const SYSTEM_PREFIX: &str = "system-";

/// The classes that exist without being created: name, value, description.
pub(crate) const SYSTEM: &[(&str, i64, &str)] = &[
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// The objects that the server creates at its start where they are missing.
pub(crate) fn system_objects() -> impl Iterator<Item = Value> {
    SYSTEM.iter().map(|(name, value, description)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": { "name": name },
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        })
    })
}

pub(crate) static PRIORITYCLASSES: Kind = Kind {
    body: Body {
        group: "scheduling.k8s.io",
        version: "v1",
        kind: "PriorityClass",
        define: define::<PriorityClass>,
    },
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: true,
    behaviour: &PriorityClasses,
    columns: Columns {
        definitions: &[
            NAME,
            Column::number("Value", "The priority that pods of this class get; higher goes first."),
            Column {
                kind: "boolean",
                ..Column::text("Global-Default", "Whether pods that name no class are of this one.")
            },
            AGE,
            Column::text("PreemptionPolicy", "Whether pods of this class may push out others."),
        ],
        cells: |object, now| {
            vec![
                cells::name(object),
                number(object, "value").unwrap_or(0).into(),
                is_true(object, "globalDefault").into(),
                cells::age(object, now),
                text(object, "/preemptionPolicy").into(),
            ]
        },
    },
};

#[derive(Debug)]
struct PriorityClasses;

impl Behaviour for PriorityClasses {
    fn defaults(&self, object: &mut Value) {
        default_text(values::as_object(object), "preemptionPolicy", "PreemptLowerPriority");
    }

    fn admit_create(&self, object: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
        one_default(object, cluster)
    }

    fn admit_update(
        &self,
        new: &mut Value,
        _old: &Value,
        cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        one_default(new, cluster)
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let name = text(object, "/metadata/name");
        let value = number(object, "value").unwrap_or(0);
        let policy = string(object, "preemptionPolicy");
        let known = SYSTEM.iter().any(|(n, v, _)| *n == name && *v == value);
        if name.starts_with(SYSTEM_PREFIX) {
            if !known {
                let detail = "priority class names with 'system-' prefix are reserved for system use only. error: \
                    the name and value are not those of a known system priority class";
                errors.push(FieldError::forbidden(&Path::new("metadata").child("name"), detail));
            }
        } else if value > USER_LIMIT {
            let detail = format!("maximum allowed value of a user defined priority is {USER_LIMIT}");
            errors.push(FieldError::forbidden(&Path::new("value"), &detail));
        }
        let supported = &["Never", "PreemptLowerPriority"];
        if !supported.contains(&policy) {
            errors.push(FieldError::not_supported(&Path::new("preemptionPolicy"), policy, supported));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part, errors: &mut Vec<FieldError>) {
        const DETAIL: &str = "may not be changed in an update.";
        if number(new, "value").unwrap_or(0) != number(old, "value").unwrap_or(0) {
            errors.push(FieldError::forbidden(&Path::new("value"), DETAIL));
        }
        if string(new, "preemptionPolicy") != string(old, "preemptionPolicy") {
            errors.push(FieldError::forbidden(&Path::new("preemptionPolicy"), DETAIL));
        }
        self.validate(new, errors);
    }

    fn deletion(&self, object: &Value, _requested: Option<i64>) -> Deletion {
        let name = text(object, "/metadata/name");
        if SYSTEM.iter().any(|(known, _, _)| *known == name) {
            Deletion::Never("this is a system priority class and cannot be deleted")
        } else {
            Deletion::Now
        }
    }
}

/// Of two defaults nobody could say which counts.
fn one_default(class: &Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
    if !is_true(class, "globalDefault") {
        return Ok(());
    }
    let name = text(class, "/metadata/name");
    let classes = cluster.list(&PRIORITYCLASSES);
    let other = classes.iter().find(|c| is_true(c, "globalDefault") && text(c, "/metadata/name") != name);
    other.map_or(Ok(()), |other| {
        Err(AdmissionError::Forbidden(format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            text(other, "/metadata/name")
        )))
    })
}
