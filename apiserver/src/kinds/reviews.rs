//! Questions about what a caller may do.

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;

use super::{Body, CREATE_ONLY, Kind, NameRule, Plain, Scope, Storage, define};
use crate::table::NAME_AND_AGE;

pub(crate) static SELFSUBJECTACCESSREVIEWS: Kind = Kind {
    body: Body {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectAccessReview",
        define: define::<SelfSubjectAccessReview>,
    },
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: CREATE_ONLY,
    subresources: &[],
    storage: Storage::None,
    name_rule: NameRule::PathSegment,
    generation: false,
    behaviour: &Plain,
    columns: NAME_AND_AGE,
};
