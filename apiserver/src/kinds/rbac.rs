//! Roles and bindings: who may do what. Their meaning is in [`crate::authorize`].

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde_json::Value;

use super::field::{FieldError, Path};
use super::values::{as_object, default_text, items, objects_mut, string};
use super::{ALL_VERBS, Behaviour, Body, Kind, NameRule, Part, Scope, Storage, define, metadata, names};
use crate::table::rbac::{BINDING_COLUMNS, ROLE_COLUMNS};

/// The group of all four kinds, and of the users and groups that bindings name.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) static ROLES: Kind = Kind {
    body: Body { group: GROUP, version: "v1", kind: "Role", define: define::<Role> },
    plural: "roles",
    singular: "role",
    scope: Scope::Namespaced,
    behaviour: &Roles { namespaced: true },
    columns: ROLE_COLUMNS,
    ..PLAIN
};

pub(crate) static CLUSTERROLES: Kind = Kind {
    body: Body { group: GROUP, version: "v1", kind: "ClusterRole", define: define::<ClusterRole> },
    plural: "clusterroles",
    singular: "clusterrole",
    scope: Scope::Cluster,
    behaviour: &Roles { namespaced: false },
    columns: ROLE_COLUMNS,
    ..PLAIN
};

pub(crate) static ROLEBINDINGS: Kind = Kind {
    body: Body { group: GROUP, version: "v1", kind: "RoleBinding", define: define::<RoleBinding> },
    plural: "rolebindings",
    singular: "rolebinding",
    scope: Scope::Namespaced,
    behaviour: &Bindings { namespaced: true },
    ..PLAIN
};

pub(crate) static CLUSTERROLEBINDINGS: Kind = Kind {
    body: Body {
        group: GROUP,
        version: "v1",
        kind: "ClusterRoleBinding",
        define: define::<ClusterRoleBinding>,
    },
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    scope: Scope::Cluster,
    behaviour: &Bindings { namespaced: false },
    ..PLAIN
};

/// What the four have in common.
const PLAIN: Kind = Kind {
    body: Body { group: GROUP, version: "v1", kind: "", define: define::<Role> },
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::PathSegment,
    generation: false,
    behaviour: &super::Plain,
    columns: BINDING_COLUMNS,
};

#[derive(Debug)]
struct Roles {
    namespaced: bool,
}

impl Behaviour for Roles {
    fn defaults(&self, role: &mut Value) {
        // Upstream always shows it, null where it is empty.
        as_object(role).entry("rules").or_insert(Value::Null);
    }

    fn validate(&self, role: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::new("rules");
        for (index, rule) in items(role, "rules").iter().enumerate() {
            policy_rule(rule, self.namespaced, &path.index(index), errors);
        }
        let Some(aggregation) = role.get("aggregationRule").filter(|a| a.is_object()) else { return };
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        let selectors = items(aggregation, "clusterRoleSelectors");
        if selectors.is_empty() {
            errors.push(FieldError::required(
                &path,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            ));
        }
        for (index, selector) in selectors.iter().enumerate() {
            metadata::labels(selector.get("matchLabels"), &path.index(index).child("matchLabels"), errors);
        }
    }
}

fn policy_rule(rule: &Value, namespaced: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let none = |field: &str| items(rule, field).is_empty();
    if none("verbs") {
        errors.push(FieldError::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if let Some(urls) = rule.get("nonResourceURLs").filter(|_| !none("nonResourceURLs")) {
        let path = path.child("nonResourceURLs");
        if namespaced {
            let detail = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(&path, urls, detail));
        }
        if !(none("apiGroups") && none("resources") && none("resourceNames")) {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&path, urls, detail));
        }
        return;
    }
    if none("apiGroups") {
        let detail = "resource rules must supply at least one api group";
        errors.push(FieldError::required(&path.child("apiGroups"), detail));
    }
    if none("resources") {
        let detail = "resource rules must supply at least one resource";
        errors.push(FieldError::required(&path.child("resources"), detail));
    }
}

#[derive(Debug)]
struct Bindings {
    namespaced: bool,
}

impl Behaviour for Bindings {
    fn defaults(&self, binding: &mut Value) {
        let fields = as_object(binding);
        if let Some(Value::Object(role)) = fields.get_mut("roleRef") {
            default_text(role, "apiGroup", GROUP);
        }
        for subject in objects_mut(fields, "subjects") {
            if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                default_text(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, binding: &Value, errors: &mut Vec<FieldError>) {
        let kinds: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        let (role, path) = (binding.get("roleRef").unwrap_or(&Value::Null), Path::new("roleRef"));
        let (group, kind, name) = (string(role, "apiGroup"), string(role, "kind"), string(role, "name"));
        if group != GROUP {
            errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
        }
        if !kinds.contains(&kind) {
            errors.push(FieldError::not_supported(&path.child("kind"), kind, kinds));
        }
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        errors.extend(
            names::path_segment(name).iter().map(|p| FieldError::invalid(&path.child("name"), name, p)),
        );
        let path = Path::new("subjects");
        for (index, subject) in items(binding, "subjects").iter().enumerate() {
            self.subject(subject, &path.index(index), errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part, errors: &mut Vec<FieldError>) {
        self.validate(new, errors);
        if new.get("roleRef") != old.get("roleRef") {
            let role = new.get("roleRef").unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(&Path::new("roleRef"), role, "cannot change roleRef"));
        }
    }
}

impl Bindings {
    fn subject(&self, subject: &Value, path: &Path, errors: &mut Vec<FieldError>) {
        let (group, name) = (string(subject, "apiGroup"), string(subject, "name"));
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        let expected = match string(subject, "kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    errors.extend(
                        names::subdomain(name)
                            .iter()
                            .map(|p| FieldError::invalid(&path.child("name"), name, p)),
                    );
                }
                if !self.namespaced && string(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(&path.child("namespace"), ""));
                }
                ""
            }
            "User" | "Group" => GROUP,
            other => {
                let kinds = &["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(&path.child("kind"), other, kinds));
                return;
            }
        };
        if group != expected {
            errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[expected]));
        }
    }
}

#[cfg(test)]
mod tests;
