//! Each caller has the rights of its part and no more, and hears upstream's words.

use serde_json::json;

use super::policy::Policy;
use super::{Attributes, On, node_of, refusal};
use crate::authenticate::User;
use crate::kinds::rbac::{CLUSTERROLEBINDINGS, CLUSTERROLES};

pub(crate) fn user(name: &str, groups: &[&str]) -> User {
    let groups = groups.iter().map(|g| (*g).to_owned()).collect();
    User::authenticated(name.to_owned(), String::new(), groups)
}

/// A verb on a resource of the core group in the namespace `a`; `pods/log` has a sub-resource.
pub(crate) fn on<'a>(verb: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s)));
    let on = On::Resource { group: "", resource, subresource, namespace: "a", name };
    Attributes { verb, on, fields: None }
}

pub(crate) fn path(path: &str) -> Attributes<'_> {
    Attributes { verb: "get", on: On::Path(path), fields: None }
}

#[test]
fn the_name_alone_makes_no_node() {
    assert_eq!(node_of(&user("system:node:n", &["system:nodes"])), Some("n"));
    assert_eq!(node_of(&user("system:node:n", &["dev"])), None);
    assert_eq!(node_of(&user("system:node:", &["system:nodes"])), None);
    assert_eq!(node_of(&user("n", &["system:nodes"])), None);
}

#[test]
fn a_refusal_is_in_upstreams_words() {
    let bob = user("bob", &["dev"]);
    let said = |attributes, reason| refusal(&bob, &attributes, reason).message;
    assert_eq!(
        said(on("list", "pods", ""), ""),
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\""
    );
    assert_eq!(
        said(on("get", "pods/log", "p"), "no relationship"),
        "pods \"p\" is forbidden: User \"bob\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"a\": no relationship"
    );
    assert_eq!(said(path("/metrics"), ""), "forbidden: User \"bob\" cannot get path \"/metrics\"");
}

#[test]
fn a_binding_to_a_role_that_is_missing_gives_nothing_and_is_told() {
    let mut policy = Policy::default();
    let binding = json!({
        "metadata": { "name": "b" },
        "roleRef": { "kind": "ClusterRole", "name": "gone" },
        "subjects": [{ "kind": "User", "name": "bob" }],
    });
    policy.add(&CLUSTERROLES, &json!({ "metadata": { "name": "other" }, "rules": [] }));
    policy.add(&CLUSTERROLEBINDINGS, &binding);
    assert_eq!(
        policy.allows(&user("bob", &[]), &on("list", "pods", "")),
        Err("RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found".to_owned())
    );
    assert_eq!(policy.allows(&user("eve", &[]), &on("list", "pods", "")), Err(String::new()));
}
