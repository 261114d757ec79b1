//! Questions about who a caller is and what somebody may do. Nothing of them is stored; the answers are [`crate::reviews`]'s.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use k8s_openapi::schemars::SchemaGenerator;

use super::{Body, CREATE_ONLY, Kind, NameRule, Plain, Scope, Storage, define};
use crate::table::NAME_AND_AGE;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

const fn review(
    group: &'static str,
    kind: &'static str,
    names: (&'static str, &'static str),
    scope: Scope,
    define: fn(&mut SchemaGenerator) -> String,
) -> Kind {
    Kind {
        body: Body { group, version: "v1", kind, define },
        plural: names.0,
        singular: names.1,
        short_names: &[],
        categories: &[],
        scope,
        verbs: CREATE_ONLY,
        subresources: &[],
        storage: Storage::None,
        name_rule: NameRule::PathSegment,
        generation: false,
        behaviour: &Plain,
        columns: NAME_AND_AGE,
    }
}

pub(crate) static SELFSUBJECTREVIEWS: Kind = review(
    AUTHENTICATION,
    "SelfSubjectReview",
    ("selfsubjectreviews", "selfsubjectreview"),
    Scope::Cluster,
    define::<SelfSubjectReview>,
);

pub(crate) static TOKENREVIEWS: Kind = review(
    AUTHENTICATION,
    "TokenReview",
    ("tokenreviews", "tokenreview"),
    Scope::Cluster,
    define::<TokenReview>,
);

pub(crate) static LOCALSUBJECTACCESSREVIEWS: Kind = review(
    AUTHORIZATION,
    "LocalSubjectAccessReview",
    ("localsubjectaccessreviews", "localsubjectaccessreview"),
    Scope::Namespaced,
    define::<LocalSubjectAccessReview>,
);

pub(crate) static SELFSUBJECTACCESSREVIEWS: Kind = review(
    AUTHORIZATION,
    "SelfSubjectAccessReview",
    ("selfsubjectaccessreviews", "selfsubjectaccessreview"),
    Scope::Cluster,
    define::<SelfSubjectAccessReview>,
);

pub(crate) static SELFSUBJECTRULESREVIEWS: Kind = review(
    AUTHORIZATION,
    "SelfSubjectRulesReview",
    ("selfsubjectrulesreviews", "selfsubjectrulesreview"),
    Scope::Cluster,
    define::<SelfSubjectRulesReview>,
);

pub(crate) static SUBJECTACCESSREVIEWS: Kind = review(
    AUTHORIZATION,
    "SubjectAccessReview",
    ("subjectaccessreviews", "subjectaccessreview"),
    Scope::Cluster,
    define::<SubjectAccessReview>,
);
