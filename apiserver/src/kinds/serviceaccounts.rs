//! Service accounts: whom the programs in pods are to the API.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;

use super::{ALL_VERBS, Body, CREATE_ONLY, Kind, NameRule, Plain, Scope, Storage, Subresource, define};
use crate::table::{AGE, Column, Columns, NAME, cells};

/// The body of `serviceaccounts/token`.
pub(crate) const TOKEN_REQUEST: Body = Body {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
    define: define::<TokenRequest>,
};

pub(crate) static SERVICEACCOUNTS: Kind = Kind {
    body: Body { group: "", version: "v1", kind: "ServiceAccount", define: define::<ServiceAccount> },
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[Subresource { name: "token", body: TOKEN_REQUEST, verbs: CREATE_ONLY }],
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
