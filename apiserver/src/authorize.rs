//! Who may do what. One table, until roles are objects.
//!
//! `system:masters` may do everything. Nodes and the scheduler have the rights listed here; what a node may do to an object also
//! depends on the object, see [`restrict_node`]. Everybody else may read the public paths, and nothing more.

use serde_json::Value;

use crate::authenticate::User;
use crate::kinds::text;
use crate::status::ApiError;

/// What a request wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) on: On<'a>,
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

/// Verbs on a group's resource, as `resource` or `resource/subresource`.
type Rule = (&'static [&'static str], &'static str, &'static str);

const READ: &[&str] = &["get", "list", "watch"];

/// What every node may do, on whatever objects [`restrict_node`] lets it.
const NODE_RULES: &[Rule] = &[
    (READ, "", "nodes"),
    (&["create", "update", "patch", "delete"], "", "nodes"),
    (&["update", "patch"], "", "nodes/status"),
    (READ, "", "pods"),
    (&["create", "delete"], "", "pods"),
    (&["update", "patch"], "", "pods/status"),
    (&["create"], "", "pods/eviction"),
    (READ, "", "services"),
    (READ, "", "namespaces"),
    (READ, "", "configmaps"),
    (READ, "", "secrets"),
    (READ, "", "serviceaccounts"),
    (&["create", "update", "patch"], "", "events"),
    (&["create", "update", "patch"], "events.k8s.io", "events"),
    (&["get", "list", "watch", "create", "update", "patch", "delete"], "coordination.k8s.io", "leases"),
    (READ, "node.k8s.io", "runtimeclasses"),
];

const SCHEDULER_RULES: &[Rule] = &[
    (READ, "", "nodes"),
    (READ, "", "pods"),
    (&["delete"], "", "pods"),
    (&["create"], "", "pods/binding"),
    (&["create"], "", "bindings"),
    (&["update", "patch"], "", "pods/status"),
    (READ, "", "namespaces"),
    (READ, "", "services"),
    (&["create", "update", "patch"], "", "events"),
    (&["create", "update", "patch"], "events.k8s.io", "events"),
    (&["get", "list", "watch", "create", "update", "patch"], "coordination.k8s.io", "leases"),
    (READ, "scheduling.k8s.io", "priorityclasses"),
    (READ, "node.k8s.io", "runtimeclasses"),
];

/// What every authenticated user may ask about himself.
const SELF_RULES: &[Rule] = &[(&["create"], "authorization.k8s.io", "selfsubjectaccessreviews")];

/// Paths that everybody may read, also without credentials (as upstream's `system:public-info-viewer`).
const PUBLIC_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];
/// Path prefixes that every authenticated user may read (as upstream's `system:discovery`).
const DISCOVERY_PATHS: &[&str] = &["/api", "/apis", "/openapi"];

/// The group that may do everything.
const MASTERS: &str = "system:masters";
const SCHEDULER: &str = "system:kube-scheduler";

/// The name of the node that a user is, if it is one.
pub(crate) fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|n| !n.is_empty() && user.in_group("system:nodes"))
}

/// Whether the user may do it, before any object is looked at.
pub(crate) fn allows(user: &User, attributes: &Attributes<'_>) -> bool {
    if user.in_group(MASTERS) {
        return true;
    }
    match attributes.on {
        On::Path(path) => {
            let below = |prefix: &&str| {
                path.strip_prefix(*prefix).is_some_and(|r| r.is_empty() || r.starts_with('/'))
            };
            attributes.verb == "get"
                && (PUBLIC_PATHS.iter().any(below)
                    || !user.is_anonymous() && DISCOVERY_PATHS.iter().any(below))
        }
        On::Resource { group, resource, subresource, .. } => {
            let granted = |rules: &[Rule]| {
                rules.iter().any(|(verbs, g, r)| {
                    let (rule_resource, rule_subresource) =
                        r.split_once('/').map_or((*r, None), |(r, s)| (r, Some(s)));
                    *g == group
                        && rule_resource == resource
                        && rule_subresource == subresource
                        && verbs.contains(&attributes.verb)
                })
            };
            !user.is_anonymous() && granted(SELF_RULES)
                || user.name == SCHEDULER && granted(SCHEDULER_RULES)
                || node_of(user).is_some() && granted(NODE_RULES)
        }
    }
}

/// Refuses what [`allows`] does not allow, in upstream's words.
pub(crate) fn authorize(user: &User, attributes: &Attributes<'_>) -> Result<(), ApiError> {
    if allows(user, attributes) {
        return Ok(());
    }
    let (who, verb) = (&user.name, attributes.verb);
    Err(match attributes.on {
        On::Path(path) => ApiError::forbidden_path(&format!("User \"{who}\" cannot {verb} path \"{path}\"")),
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
            ApiError::forbidden_resource(group, resource, name, &why)
        }
    })
}

/// Annotation that marks the API's copy of a static pod.
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// What upstream's NodeRestriction says: a node writes its own node object and lease, and the pods that are bound to it. `object` is the
/// new object of a create, the present one of any other write. `Err` is what follows `... is forbidden: `.
pub(crate) fn restrict_node(
    user: &User,
    verb: &str,
    resource: &str,
    subresource: Option<&str>,
    object: &Value,
) -> Result<(), String> {
    let Some(node) = node_of(user).filter(|_| !user.in_group(MASTERS)) else { return Ok(()) };
    let name = text(object, "/metadata/name");
    let bound_here = text(object, "/spec/nodeName") == node;
    match (resource, verb, subresource) {
        ("nodes", _, _) if name != node => {
            Err(format!("node \"{node}\" is not allowed to modify node \"{name}\""))
        }
        ("leases", _, _) if text(object, "/metadata/namespace") != "kube-node-lease" => {
            Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned())
        }
        ("leases", _, _) if name != node => {
            Err(format!("can only access node lease with the same name as the requesting node \"{node}\""))
        }
        ("pods", "create", None) if text(object, MIRROR).is_empty() => {
            let key = "kubernetes.io/config.mirror";
            Err(format!(
                "pod does not have \"{key}\" annotation, node \"{node}\" can only create mirror pods"
            ))
        }
        ("pods", "create", None) if !bound_here => {
            Err(format!("node \"{node}\" can only create pods with spec.nodeName set to itself"))
        }
        ("pods", "delete", None) if !bound_here => {
            Err(format!("node \"{node}\" can only delete pods with spec.nodeName set to itself"))
        }
        ("pods", "create", Some("eviction")) if !bound_here => {
            Err(format!("node \"{node}\" can only evict pods with spec.nodeName set to itself"))
        }
        ("pods", _, Some("status")) if !bound_here => Err(format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
