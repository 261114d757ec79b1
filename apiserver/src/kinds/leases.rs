//! Leases: the heartbeats of nodes and leaders.

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use super::field::{FieldError, Path};
use super::values::{number, string};
use super::{ALL_VERBS, Behaviour, Body, Kind, NameRule, Scope, Storage, define, text};
use crate::table::{AGE, Column, Columns, NAME, cells};

pub(crate) static LEASES: Kind = Kind {
    body: Body { group: "coordination.k8s.io", version: "v1", kind: "Lease", define: define::<Lease> },
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Leases,
    columns: Columns {
        definitions: &[NAME, Column::text("Holder", "Who holds the lease now."), AGE],
        cells: |object, now| {
            vec![cells::name(object), text(object, "/spec/holderIdentity").into(), cells::age(object, now)]
        },
    },
};

#[derive(Debug)]
struct Leases;

impl Behaviour for Leases {
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::new("spec");
        let Some(spec) = object.get("spec") else { return };
        if let Some(seconds) = number(spec, "leaseDurationSeconds").filter(|s| *s <= 0) {
            errors.push(FieldError::invalid(
                &path.child("leaseDurationSeconds"),
                seconds,
                "must be greater than 0",
            ));
        }
        if let Some(transitions) = number(spec, "leaseTransitions").filter(|t| *t < 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(&path.child("leaseTransitions"), transitions, detail));
        }
        if spec.get("preferredHolder").is_some() && string(spec, "strategy").is_empty() {
            let detail = "may only be specified if strategy is set";
            errors.push(FieldError::forbidden(&path.child("preferredHolder"), detail));
        }
    }
}
