//! Roles and bindings give away no right that their author lacks.

use serde_json::Value;

use super::{Operation, Write};
use crate::authorize::rules::Rule;
use crate::authorize::{Attributes, Authorizer, On, escalation};
use crate::kinds::rbac::GROUP;
use crate::kinds::text;
use crate::status::ApiError;

/// Refuses a role or a binding that goes beyond the author's own rights.
pub(super) fn confirm(write: &Write<'_>, authorizer: &Authorizer) -> Result<(), ApiError> {
    if write.kind.body.group != GROUP {
        return Ok(());
    }
    let (new, old) = match write.operation {
        Operation::Create(new) => (new, None),
        Operation::Update { old, new } => (new, Some(old)),
        Operation::Delete(_) => return Ok(()),
    };
    let name = text(new, "/metadata/name");
    let namespace = text(new, "/metadata/namespace");
    let may = |verb: &str, resource: &str, name: &str| {
        let on = On::Resource { group: GROUP, resource, subresource: None, namespace, name };
        authorizer.allows(write.user, &Attributes { verb, on, fields: None })
    };
    let policy = authorizer.policy();
    let granted: Vec<Rule> = match write.kind.plural {
        "roles" | "clusterroles" => {
            let same = |field: &str| old.is_some_and(|old| old.get(field) == new.get(field));
            if same("rules") && same("aggregationRule") || may("escalate", write.kind.plural, name) {
                return Ok(());
            }
            if new.get("aggregationRule").is_some_and(Value::is_object) {
                // It may come to have any rule, so that its author has to have all of them (as upstream).
                let all = || vec!["*".to_owned()];
                let everything = Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() };
                vec![everything, Rule { verbs: all(), paths: all(), ..Rule::default() }]
            } else {
                Rule::all_of(new)
            }
        }
        _ => {
            let same = |field: &str| old.is_some_and(|old| old.get(field) == new.get(field));
            let (kind, role) = (text(new, "/roleRef/kind"), text(new, "/roleRef/name"));
            let resource = if kind == "Role" { "roles" } else { "clusterroles" };
            if same("subjects") && same("roleRef") || may("bind", resource, role) {
                return Ok(());
            }
            let Some(rules) = policy.rules(kind, namespace, role) else {
                return Err(role_not_found(resource, role));
            };
            rules.to_vec()
        }
    };
    let held = policy.rules_of(write.user, namespace);
    escalation::confirm(write.user, &held, &granted)
        .map_err(|why| ApiError::forbidden(write.kind, name, &why))
}

fn role_not_found(resource: &str, role: &str) -> ApiError {
    ApiError::new(404, "NotFound", format!("{resource}.{GROUP} \"{role}\" not found"))
}
