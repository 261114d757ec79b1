//! Service accounts.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{ALL_VERBS, Body, Kind, NameRule, Plain, Scope, Storage, define};
use crate::table::{AGE, Column, Columns, NAME, cells};

pub(crate) static SERVICEACCOUNTS: Kind = Kind {
    body: Body { group: "", version: "v1", kind: "ServiceAccount", define: define::<ServiceAccount> },
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Plain,
    columns: Columns {
        definitions: &[
            NAME,
            Column::number("Secrets", "The number of secrets that pods with this account may use."),
            AGE,
        ],
        cells: |object, now| {
            vec![cells::name(object), cells::count(object, "/secrets").into(), cells::age(object, now)]
        },
    },
};
