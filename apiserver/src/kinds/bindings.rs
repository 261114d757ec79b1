//! `bindings`: the older way to bind a pod; the body of `pods/binding`.

use k8s_openapi::api::core::v1::Binding;

use super::{Body, CREATE_ONLY, Kind, NameRule, Plain, Scope, Storage, define};
use crate::table::NAME_AND_AGE;

pub(crate) const BINDING: Body =
    Body { group: "", version: "v1", kind: "Binding", define: define::<Binding> };

pub(crate) static BINDINGS: Kind = Kind {
    body: BINDING,
    plural: "bindings",
    singular: "binding",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: CREATE_ONLY,
    subresources: &[],
    storage: Storage::None,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Plain,
    columns: NAME_AND_AGE,
};
