//! Who may do what.
//!
//! ```text
//! system:masters ──────────────> allowed
//! a node ──> nodes (its pods' objects, its own objects) ──┐ allowed, or why not
//! anybody ─> policy (roles and bindings)  ────────────────┴> allowed, or refused with both reasons
//! ```
//!
//! [`rules`] is what one rule of a role allows and covers, [`policy`] all roles and bindings in a form that is quick to ask,
//! [`nodes`] what upstream's Node authorizer says, [`references`] which objects a pod names, [`escalation`] whether somebody may
//! give a right away. What a write may do to an object that the caller may write is [`crate::admission`]'s.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::prefix;
use crate::authenticate::User;
use crate::cache::Cache;
use crate::kinds::Kind;
use crate::kinds::rbac::{CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES};
use crate::selector::FieldSelector;
use crate::status::ApiError;

pub(crate) mod escalation;
pub(crate) mod nodes;
pub(crate) mod policy;
pub(crate) mod references;
pub(crate) mod rules;

use policy::Policy;

/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";

/// What a request wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) on: On<'a>,
    /// Which objects of a list or watch are wanted.
    pub(crate) fields: Option<&'a FieldSelector>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum On<'a> {
    Resource {
        group: &'a str,
        resource: &'a str,
        subresource: Option<&'a str>,
        /// Empty at the cluster scope.
        namespace: &'a str,
        /// Empty for collections.
        name: &'a str,
    },
    Path(&'a str),
}

/// The name of the node that a user is, if it is one.
pub(crate) fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|n| !n.is_empty() && user.in_group("system:nodes"))
}

/// Whether something is allowed, and why or why not; the reason may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
}

/// Decides from the objects of the cache. The compiled roles are made anew when one of them has changed, so that a decision
/// knows every write that was acknowledged before it.
#[derive(Debug)]
pub(crate) struct Authorizer {
    cache: Arc<Cache>,
    compiled: Mutex<Option<(u64, Arc<Policy>)>>,
}

/// The kinds that a policy is made of.
const SOURCES: [&Kind; 4] = [&CLUSTERROLES, &CLUSTERROLEBINDINGS, &ROLES, &ROLEBINDINGS];

impl Authorizer {
    pub(crate) fn new(cache: Arc<Cache>) -> Self {
        Self { cache, compiled: Mutex::default() }
    }

    /// All roles and bindings as they are now.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        let changed = |kind: &Kind| self.cache.changed_at(&prefix(kind, ""));
        let newest = SOURCES.iter().map(|kind| changed(kind)).max().unwrap_or(0);
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, policy)) = compiled.as_ref()
            && *revision == newest
        {
            return policy.clone();
        }
        let mut policy = Policy::default();
        for kind in SOURCES {
            // Roles come first: bindings look them up.
            for object in self.cache.list_cached(&prefix(kind, "")) {
                policy.add(kind, &object.value());
            }
        }
        let policy = Arc::new(policy);
        *compiled = Some((newest, policy.clone()));
        policy
    }

    /// Whether the user may do it, before any object is looked at.
    pub(crate) fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        if user.in_group(MASTERS) {
            return Decision { allowed: true, reason: String::new() };
        }
        let mut reasons = Vec::new();
        if let Some(node) = node_of(user) {
            match nodes::allows(node, attributes, &self.cache) {
                Ok(()) => return Decision { allowed: true, reason: String::new() },
                Err(reason) => reasons.extend(Some(reason).filter(|r| !r.is_empty())),
            }
        }
        let policy = self.policy();
        match policy.allows(user, attributes) {
            Ok(grant) => Decision { allowed: true, reason: grant },
            Err(reason) => {
                reasons.extend(Some(reason).filter(|r| !r.is_empty()));
                Decision { allowed: false, reason: reasons.join("\n") }
            }
        }
    }

    pub(crate) fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool {
        self.decide(user, attributes).allowed
    }

    /// Refuses what is not allowed, in upstream's words.
    pub(crate) fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        let decision = self.decide(user, attributes);
        if decision.allowed {
            return Ok(());
        }
        Err(refusal(user, attributes, &decision.reason))
    }
}

/// Says who cannot do what, and perhaps why.
fn refusal(user: &User, attributes: &Attributes<'_>, reason: &str) -> ApiError {
    let (who, verb) = (&user.name, attributes.verb);
    let because = |what: String| if reason.is_empty() { what } else { format!("{what}: {reason}") };
    match attributes.on {
        On::Path(path) => {
            ApiError::forbidden_path(&because(format!("User \"{who}\" cannot {verb} path \"{path}\"")))
        }
        On::Resource { group, resource, subresource, namespace, name } => {
            let asked = match subresource {
                Some(subresource) => format!("{resource}/{subresource}"),
                None => resource.to_owned(),
            };
            let scope = match namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace \"{namespace}\""),
            };
            let why =
                format!("User \"{who}\" cannot {verb} resource \"{asked}\" in API group \"{group}\" {scope}");
            ApiError::forbidden_resource(group, resource, name, &because(why))
        }
    }
}

#[cfg(test)]
mod tests;
