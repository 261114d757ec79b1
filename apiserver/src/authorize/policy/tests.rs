//! Bindings give the rights of their roles to their subjects, where they stand.

use serde_json::{Value, json};

use super::super::tests::{on, path, user};
use super::Policy;
use crate::kinds::Kind;
use crate::kinds::rbac::{CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES};

fn policy(objects: &[(&Kind, Value)]) -> Policy {
    let mut policy = Policy::default();
    for (kind, object) in objects {
        policy.add(kind, object);
    }
    policy
}

fn role(name: &str, namespace: &str, resource: &str) -> Value {
    let rule = json!({ "verbs": ["get"], "apiGroups": [""], "resources": [resource] });
    json!({ "metadata": { "name": name, "namespace": namespace }, "rules": [rule] })
}

fn binding(name: &str, namespace: &str, role: (&str, &str), subject: Value) -> Value {
    json!({
        "metadata": { "name": name, "namespace": namespace },
        "roleRef": { "kind": role.0, "name": role.1 },
        "subjects": [subject],
    })
}

#[test]
fn rights_hold_for_the_subject_and_where_the_binding_stands() {
    let policy = policy(&[
        (&CLUSTERROLES, role("pods", "", "pods")),
        (&CLUSTERROLES, role("nodes", "", "nodes")),
        (&ROLES, role("maps", "a", "configmaps")),
        (&ROLES, role("maps", "b", "configmaps")),
        (
            &CLUSTERROLEBINDINGS,
            binding("x", "", ("ClusterRole", "nodes"), json!({ "kind": "Group", "name": "ops" })),
        ),
        (&ROLEBINDINGS, binding("y", "a", ("ClusterRole", "pods"), json!({ "kind": "User", "name": "bob" }))),
        (
            &ROLEBINDINGS,
            binding("z", "a", ("Role", "maps"), json!({ "kind": "ServiceAccount", "name": "s" })),
        ),
        (
            &ROLEBINDINGS,
            binding(
                "z",
                "b",
                ("Role", "maps"),
                json!({ "kind": "ServiceAccount", "name": "s", "namespace": "c" }),
            ),
        ),
    ]);
    let (bob, ops) = (user("bob", &[]), user("o", &["ops"]));
    let account = user("system:serviceaccount:a:s", &[]);
    let elsewhere = user("system:serviceaccount:c:s", &[]);
    let cases = [
        (&bob, on("get", "pods", "p"), true),
        (&bob, on("get", "configmaps", "m"), false),
        (&ops, on("get", "nodes", "n"), true),
        (&ops, on("get", "pods", "p"), false),
        (&account, on("get", "configmaps", "m"), true),
        (&elsewhere, on("get", "configmaps", "m"), false),
        (&ops, path("/metrics"), false),
    ];
    for (user, attributes, expected) in cases {
        let outcome = policy.allows(user, &attributes);
        assert_eq!(outcome.is_ok(), expected, "{} {attributes:?} {outcome:?}", user.name);
    }
    assert_eq!(
        policy.allows(&bob, &on("get", "pods", "p")).unwrap(),
        "RBAC: allowed by RoleBinding \"y/a\" of ClusterRole \"pods\" to User \"bob\""
    );
    assert_eq!(policy.rules_of(&elsewhere, "b").len(), 1);
    assert_eq!(policy.rules_of(&bob, "").len(), 0, "a binding in a namespace gives nothing outside");
}
