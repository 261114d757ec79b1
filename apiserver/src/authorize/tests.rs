//! Who may do what, and what a node may do to which objects.

use serde_json::{Value, json};

use super::{Attributes, On, allows, authorize, restrict_node};
use crate::authenticate::{Tokens, User, authenticate};
use crate::pki::Subject;

fn user(name: &str, group: &str) -> User {
    authenticate(Some(&Subject::new(name, &[group])), &http::HeaderMap::new(), &Tokens::default()).unwrap()
}

fn on<'a>(verb: &'a str, resource: &'a str, subresource: Option<&'a str>) -> Attributes<'a> {
    Attributes { verb, on: On::Resource { group: "", resource, subresource, namespace: "a", name: "" } }
}

#[test]
fn each_caller_has_the_rights_of_its_part_and_no_more() {
    let node = user("system:node:n", "system:nodes");
    let scheduler = user("system:kube-scheduler", "");
    let somebody = user("somebody", "dev");
    let cases = [
        (&node, on("patch", "pods", Some("status")), true),
        (&node, on("patch", "pods", None), false),
        (&node, on("create", "pods", Some("binding")), false),
        (&scheduler, on("create", "pods", Some("binding")), true),
        (&scheduler, on("list", "secrets", None), false),
        (&somebody, on("list", "pods", None), false),
    ];
    for (user, attributes, expected) in cases {
        assert_eq!(allows(user, &attributes), expected, "{} {attributes:?}", user.name);
    }
    assert!(allows(&user("root", "system:masters"), &on("delete", "secrets", None)));
    // The name alone makes no node.
    assert!(!allows(&user("system:node:n", "dev"), &on("list", "pods", None)));
}

#[test]
fn the_public_paths_are_open_and_discovery_to_who_is_known() {
    let get = |path| Attributes { verb: "get", on: On::Path(path) };
    let (anonymous, somebody) = (User::anonymous(), user("somebody", "dev"));
    assert!(allows(&anonymous, &get("/healthz")) && allows(&anonymous, &get("/readyz/ping")));
    assert!(!allows(&anonymous, &get("/api")) && allows(&somebody, &get("/api")));
    assert!(!allows(&somebody, &get("/apiary")) && !allows(&somebody, &get("/metrics")));
}

#[test]
fn a_refusal_is_in_upstreams_words() {
    let refused = authorize(&user("bob", "dev"), &on("list", "pods", None)).unwrap_err();
    let message = refused.to_object()["message"].as_str().unwrap().to_owned();
    assert_eq!(
        message,
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\""
    );
}

#[test]
fn a_node_writes_its_own_objects_only() {
    let node = user("system:node:n", "system:nodes");
    let pod = |node: &str, mirror: bool| {
        let annotations = if mirror { json!({ "kubernetes.io/config.mirror": "x" }) } else { json!({}) };
        json!({ "metadata": { "name": "p", "annotations": annotations }, "spec": { "nodeName": node } })
    };
    let named = |name: &str, namespace: &str| json!({ "metadata": { "name": name, "namespace": namespace } });
    let cases: [(&str, &str, Option<&str>, Value, bool); 10] = [
        ("nodes", "update", Some("status"), named("n", ""), true),
        ("nodes", "update", Some("status"), named("m", ""), false),
        ("leases", "update", None, named("n", "kube-node-lease"), true),
        ("leases", "update", None, named("m", "kube-node-lease"), false),
        ("leases", "create", None, named("n", "default"), false),
        ("pods", "create", None, pod("n", true), true),
        ("pods", "create", None, pod("n", false), false),
        ("pods", "create", None, pod("m", true), false),
        ("pods", "update", Some("status"), pod("m", false), false),
        ("pods", "delete", None, pod("n", false), true),
    ];
    for (resource, verb, subresource, object, expected) in cases {
        let outcome = restrict_node(&node, verb, resource, subresource, &object);
        assert_eq!(outcome.is_ok(), expected, "{verb} {resource} {object}: {outcome:?}");
    }
    assert!(restrict_node(&user("root", "system:masters"), "update", "nodes", None, &named("m", "")).is_ok());
}
