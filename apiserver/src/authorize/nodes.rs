//! What a node may do (as upstream's Node authorizer): it reads its own objects, and of others those that its pods name.
//!
//! There is no graph in memory. Which pods of a namespace are bound to the node and name the object is looked up in the stored
//! bytes, and only those pods that contain both names are parsed: a node asks seldom, and pods change often.

use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;

use super::references::{self, Referent};
use super::rules::Rule;
use super::{Attributes, On};
use crate::api::{key, prefix};
use crate::cache::{Cache, Object};
use crate::kinds::persistentvolumes::PERSISTENTVOLUMES;
use crate::kinds::pods::PODS;
use crate::kinds::text;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";
const EVENTS: &str = "events.k8s.io";
const STORAGE: &str = "storage.k8s.io";
/// Where the leases of nodes are.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";

const READ: &[&str] = &["get", "list", "watch"];

/// Verbs on resources of a group that every node may use on all objects. The role `system:node` has them too.
pub(crate) const RULES: &[(&[&str], &str, &[&str])] = &[
    (&["create"], AUTHENTICATION, &["tokenreviews"]),
    (&["create"], AUTHORIZATION, &["localsubjectaccessreviews", "subjectaccessreviews"]),
    (READ, "", &["services"]),
    (&["get"], "", &["endpoints"]),
    (&["create", "patch", "update"], "", &["events"]),
    (&["create", "patch", "update"], EVENTS, &["events"]),
    (&["create", "get", "list", "watch"], CERTIFICATES, &["certificatesigningrequests"]),
    (READ, "node.k8s.io", &["runtimeclasses"]),
    (READ, STORAGE, &["csidrivers"]),
];

/// The rules in the form in which they are asked.
fn rules() -> &'static [Rule] {
    static COMPILED: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let rule = |(verbs, group, resources): &(&[&str], &str, &[&str])| Rule {
            verbs: texts(verbs),
            groups: texts(&[group]),
            resources: texts(resources),
            ..Rule::default()
        };
        RULES.iter().map(rule).collect()
    });
    &COMPILED
}

/// A reason why not; it may be empty.
type Verdict = Result<(), String>;

fn no(reason: &str) -> Verdict {
    Err(reason.to_owned())
}

/// Whether the node may do it.
pub(super) fn allows(node: &str, attributes: &Attributes<'_>, cache: &Cache) -> Verdict {
    let On::Resource { group, resource, subresource, namespace, name } = attributes.on else { return no("") };
    let request = Request { node, attributes, cache, subresource, namespace, name };
    match (group, resource) {
        ("", "secrets") => request.read(Referent::Secret),
        ("", "configmaps") => request.read(Referent::ConfigMap),
        ("", "persistentvolumeclaims") => request.claim(),
        ("", "persistentvolumes") => request.volume(),
        (STORAGE, "volumeattachments") => request.get(None),
        ("", "serviceaccounts") => request.service_account(),
        ("", "nodes") => request.node(),
        ("", "pods") => request.pod(),
        (COORDINATION, "leases") => request.lease(),
        (STORAGE, "csinodes") => request.csi_node(),
        _ if rules().iter().any(|rule| rule.allows(attributes)) => Ok(()),
        _ => no(""),
    }
}

struct Request<'a> {
    node: &'a str,
    attributes: &'a Attributes<'a>,
    cache: &'a Cache,
    subresource: Option<&'a str>,
    namespace: &'a str,
    name: &'a str,
}

impl Request<'_> {
    fn verb(&self) -> &str {
        self.attributes.verb
    }

    /// Whether a pod of this node names the object.
    fn related(&self, referent: Option<Referent>) -> Verdict {
        if self.name.is_empty() {
            return no("No Object name found");
        }
        let found = referent.is_some_and(|referent| {
            let mut pods = pods_of(self.node, self.namespace, self.name, self.cache);
            pods.any(|pod| references::names(&pod.value(), referent, self.name))
        });
        if found {
            return Ok(());
        }
        Err(format!("no relationship found between node '{}' and this object", self.node))
    }

    /// Reads of single objects.
    fn read(&self, referent: Referent) -> Verdict {
        if !READ.contains(&self.verb()) {
            return no("can only read resources of this type");
        }
        if self.subresource.is_some() {
            return no("cannot read subresource");
        }
        if self.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(Some(referent))
    }

    fn get(&self, referent: Option<Referent>) -> Verdict {
        if self.verb() != "get" {
            return no("can only get individual resources of this type");
        }
        if self.subresource.is_some() {
            return no("cannot get subresource");
        }
        self.related(referent)
    }

    fn claim(&self) -> Verdict {
        match (self.subresource, self.verb()) {
            (Some("status"), "update" | "patch") => self.related(Some(Referent::Claim)),
            (Some("status"), _) => no("can only get/update/patch this type"),
            _ => self.get(Some(Referent::Claim)),
        }
    }

    /// A volume is reached by the claim that it is bound to.
    fn volume(&self) -> Verdict {
        let found = self.cache.get_cached(&key(&PERSISTENTVOLUMES, "", self.name)).map(|v| v.value());
        let Some(volume) = found.filter(|_| self.verb() == "get") else { return self.get(None) };
        let (namespace, name) =
            (text(&volume, "/spec/claimRef/namespace"), text(&volume, "/spec/claimRef/name"));
        let claim = Request { namespace, name, ..*self };
        claim.get(Some(Referent::Claim))
    }

    fn service_account(&self) -> Verdict {
        match (self.verb(), self.subresource) {
            ("get", None) => self.related(Some(Referent::ServiceAccount)),
            ("create", Some("token")) if !self.name.is_empty() => {
                self.related(Some(Referent::ServiceAccount))
            }
            ("create", Some("token")) => no("can only create tokens for individual service accounts"),
            _ => no("can only get service accounts and create their tokens"),
        }
    }

    fn node(&self) -> Verdict {
        match (self.subresource, self.verb()) {
            // Which of them is for admission to say.
            (None, "create" | "update" | "patch") | (Some("status"), "update" | "patch") => Ok(()),
            (None, "get" | "list" | "watch") if self.name == self.node => Ok(()),
            (None, "get" | "list" | "watch") if self.name.is_empty() => {
                Err(format!("node '{}' cannot read all nodes, only its own Node object", self.node))
            }
            (None, "get" | "list" | "watch") => {
                Err(format!("node '{}' cannot read '{}', only its own Node object", self.node, self.name))
            }
            _ => no(""),
        }
    }

    fn pod(&self) -> Verdict {
        match (self.subresource, self.verb()) {
            (None, "get") => self.related(Some(Referent::Pod)),
            (None, "list" | "watch") => {
                if self.attributes.fields.and_then(|f| f.required("spec.nodeName")) == Some(self.node) {
                    Ok(())
                } else if self.name.is_empty() {
                    no("can only list/watch pods with spec.nodeName field selector")
                } else {
                    self.related(Some(Referent::Pod))
                }
            }
            // Which of them is for admission to say.
            (None, "create" | "delete")
            | (Some("status"), "update" | "patch")
            | (Some("eviction"), "create") => Ok(()),
            _ => no(""),
        }
    }

    fn lease(&self) -> Verdict {
        if !matches!(self.verb(), "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if self.namespace != LEASE_NAMESPACE {
            return Err(format!("can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"));
        }
        // A create has its name in the body, which admission looks at.
        if self.verb() != "create" && self.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        Ok(())
    }

    fn csi_node(&self) -> Verdict {
        if !matches!(self.verb(), "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a CSINode");
        }
        if self.subresource.is_some() {
            return no("cannot authorize CSINode subresources");
        }
        if self.verb() != "create" && self.name != self.node {
            return no("can only access CSINode with the same name as the requesting node");
        }
        Ok(())
    }
}

/// The pods of a namespace that are bound to a node and contain a name, wherever it stands.
fn pods_of<'a>(
    node: &'a str,
    namespace: &str,
    name: &'a str,
    cache: &Cache,
) -> impl Iterator<Item = Arc<Object>> + 'a {
    let bound = Finder::new(format!("\"nodeName\":\"{node}\"").as_bytes()).into_owned();
    // A claim of an ephemeral volume is named after its pod and its volume, a pod by its key: both parts are there.
    let named = Finder::new(name).into_owned();
    let pods = if namespace.is_empty() { Vec::new() } else { cache.list_cached(&prefix(&PODS, namespace)) };
    pods.into_iter().filter(move |pod| {
        let json = pod.stored_json();
        bound.find(json).is_some()
            && (named.find(json).is_some() || json_has_ephemeral(json))
            && text(&pod.value(), "/spec/nodeName") == node
    })
}

/// Whether a pod may have a volume whose claim has a name that stands nowhere in it.
fn json_has_ephemeral(json: &[u8]) -> bool {
    static EPHEMERAL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"volumeClaimTemplate\""));
    EPHEMERAL.find(json).is_some()
}

#[cfg(test)]
mod tests;
