//! Cluster roles that are made of others: `aggregationRule` selects them by label, and the union of their rules is written into the
//! role (as upstream's controller does).

use std::sync::Arc;

use serde_json::Value;

use crate::api::{Api, in_form_of, prefix};
use crate::controller::{self, Again};
use crate::kinds::label_selector::selects;
use crate::kinds::rbac::CLUSTERROLES;
use crate::kinds::text;
use crate::kinds::values::{as_object, items};
use crate::status::ApiError;
use crate::store::WriteError;
use crate::verbs::update::store;

/// Keeps the roles up to date until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    controller::run(&api, "aggregated cluster roles", &[&CLUSTERROLES], || pass(&api)).await;
}

/// Writes the rules of all aggregated roles whose parts have changed. A role that is made of aggregated ones follows in the next pass.
pub(crate) async fn pass(api: &Api) -> Result<Again, ApiError> {
    let objects = api.cache.list_cached(&prefix(&CLUSTERROLES, ""));
    let roles: Vec<Arc<Value>> = objects.iter().map(|object| object.value()).collect();
    for (object, role) in objects.iter().zip(&roles) {
        let Some(rules) = aggregated(role, &roles) else { continue };
        let before = items(role, "rules");
        if before == rules.as_slice() {
            continue;
        }
        let mut changed = in_form_of(&CLUSTERROLES, object);
        as_object(&mut changed).insert("rules".to_owned(), rules.into());
        match store(api, &CLUSTERROLES, object, changed).await {
            // Somebody else was quicker, which is a change.
            Ok(_) | Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => {}
            Err(error) => {
                return Err(ApiError::of_write(error, &CLUSTERROLES, text(role, "/metadata/name")));
            }
        }
    }
    Ok(Again::OnChange)
}

/// The rules that a role is to have, each once; `None` for a role that is not made of others.
fn aggregated(role: &Value, roles: &[Arc<Value>]) -> Option<Vec<Value>> {
    let rule = role.get("aggregationRule").filter(|r| r.is_object())?;
    let selectors = items(rule, "clusterRoleSelectors");
    let mut rules: Vec<Value> = Vec::new();
    for part in roles.iter().filter(|part| text(part, "/metadata/name") != text(role, "/metadata/name")) {
        if selectors.iter().any(|selector| selects(selector, part)) {
            for rule in items(part, "rules") {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests;
