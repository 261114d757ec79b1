//! All roles and bindings, in a form that is quick to ask.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, On};
use crate::authenticate::User;
use crate::kinds::values::{items, string};
use crate::kinds::{Kind, text};

type Rules = Arc<[Rule]>;

/// Which roles there are, and who has them.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    cluster_roles: HashMap<String, Rules>,
    /// By namespace and name.
    roles: HashMap<(String, String), Rules>,
    everywhere: Vec<Binding>,
    in_namespaces: HashMap<String, Vec<Binding>>,
}

/// One binding.
#[derive(Debug)]
struct Binding {
    /// `ClusterRoleBinding "x"`, for reasons.
    shown: String,
    /// `ClusterRole "x"`.
    role: String,
    /// `None` if there is no such role.
    rules: Option<Rules>,
    subjects: Vec<Subject>,
}

#[derive(Debug, PartialEq, Eq)]
enum Subject {
    /// Also a service account, under the name that it has as a user.
    User(String),
    Group(String),
}

impl Subject {
    fn of(subject: &Value, namespace: &str) -> Option<Self> {
        let name = string(subject, "name");
        match string(subject, "kind") {
            "User" => Some(Self::User(name.to_owned())),
            "Group" => Some(Self::Group(name.to_owned())),
            "ServiceAccount" => {
                let own = string(subject, "namespace");
                let namespace = if own.is_empty() { namespace } else { own };
                Some(Self::User(format!("system:serviceaccount:{namespace}:{name}")))
            }
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.in_group(name),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::User(name) => format!("User \"{name}\""),
            Self::Group(name) => format!("Group \"{name}\""),
        }
    }
}

impl Policy {
    /// Takes in an object of one of the four kinds; all roles before any binding.
    pub(super) fn add(&mut self, kind: &Kind, object: &Value) {
        let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        match kind.plural {
            "clusterroles" => {
                self.cluster_roles.insert(name.to_owned(), Rule::all_of(object).into());
            }
            "roles" => {
                let key = (namespace.to_owned(), name.to_owned());
                self.roles.insert(key, Rule::all_of(object).into());
            }
            "clusterrolebindings" => {
                let binding = self.binding(object, "", format!("ClusterRoleBinding \"{name}\""));
                self.everywhere.push(binding);
            }
            _ => {
                let binding = self.binding(object, namespace, format!("RoleBinding \"{name}/{namespace}\""));
                self.in_namespaces.entry(namespace.to_owned()).or_default().push(binding);
            }
        }
    }

    fn binding(&self, object: &Value, namespace: &str, shown: String) -> Binding {
        let (kind, name) = (text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
        Binding {
            shown,
            role: format!("{kind} \"{name}\""),
            rules: self.rules(kind, namespace, name),
            subjects: items(object, "subjects").iter().filter_map(|s| Subject::of(s, namespace)).collect(),
        }
    }

    /// The rules of a role that a binding in this namespace names.
    pub(crate) fn rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Rules> {
        match kind {
            "ClusterRole" => self.cluster_roles.get(name).cloned(),
            _ => self.roles.get(&(namespace.to_owned(), name.to_owned())).cloned(),
        }
    }

    /// Shows every rule that a user has in a namespace (or at the cluster scope, if it is empty), with the binding and the subject
    /// that give it, until `found` breaks. Roles that are missing are left out and told.
    fn visit<T>(
        &self,
        user: &User,
        namespace: &str,
        mut found: impl FnMut(&Rule, &Binding, &Subject) -> ControlFlow<T>,
    ) -> Result<T, Vec<String>> {
        let mut missing = Vec::new();
        let local = self.in_namespaces.get(namespace).filter(|_| !namespace.is_empty());
        for binding in self.everywhere.iter().chain(local.into_iter().flatten()) {
            let Some(subject) = binding.subjects.iter().find(|s| s.is(user)) else { continue };
            let Some(rules) = &binding.rules else {
                let (kind, name) = binding.role.split_once(' ').unwrap_or_default();
                missing.push(format!("{}.rbac.authorization.k8s.io {name} not found", kind.to_lowercase()));
                continue;
            };
            for rule in rules.iter() {
                if let ControlFlow::Break(result) = found(rule, binding, subject) {
                    return Ok(result);
                }
            }
        }
        Err(missing)
    }

    /// Why the user may do it, or why not; the second may be empty.
    pub(super) fn allows(&self, user: &User, attributes: &Attributes<'_>) -> Result<String, String> {
        let namespace = match attributes.on {
            On::Resource { namespace, .. } => namespace,
            On::Path(_) => "",
        };
        let outcome = self.visit(user, namespace, |rule, binding, subject| {
            if rule.allows(attributes) {
                let Binding { shown, role, .. } = binding;
                ControlFlow::Break(format!("RBAC: allowed by {shown} of {role} to {}", subject.shown()))
            } else {
                ControlFlow::Continue(())
            }
        });
        outcome.map_err(|missing| match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        })
    }

    /// All rules that a user has in a namespace.
    pub(crate) fn rules_of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        let _: Result<(), _> = self.visit(user, namespace, |rule, _, _| {
            rules.push(rule.clone());
            ControlFlow::Continue(())
        });
        rules
    }
}

#[cfg(test)]
mod tests;
