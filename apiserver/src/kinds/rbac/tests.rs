//! Roles and bindings are checked in upstream's words.

use serde_json::{Value, json};

use super::{CLUSTERROLEBINDINGS, CLUSTERROLES, GROUP, ROLEBINDINGS, ROLES};
use crate::kinds::Kind;

fn errors(kind: &Kind, mut object: Value) -> Vec<String> {
    object["metadata"]["name"] = "x:y".into();
    if kind.namespaced() {
        object["metadata"]["namespace"] = "a".into();
    }
    kind.check(&mut object).unwrap();
    kind.defaults(&mut object);
    kind.validate_create(&object).iter().map(ToString::to_string).collect()
}

#[test]
fn rules_name_verbs_and_either_resources_or_paths() {
    let rules = |rules: Value| json!({ "rules": rules });
    let good = rules(json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }]));
    assert_eq!(errors(&ROLES, good.clone()), errors(&CLUSTERROLES, good));
    let paths = rules(json!([{ "verbs": ["get"], "nonResourceURLs": ["/healthz"] }]));
    assert!(errors(&CLUSTERROLES, paths.clone()).is_empty());
    assert_eq!(
        errors(&ROLES, paths),
        [
            "rules[0].nonResourceURLs: Invalid value: [\"/healthz\"]: namespaced rules cannot apply to non-resource URLs"
        ]
    );
    assert_eq!(
        errors(&CLUSTERROLES, rules(json!([{ "verbs": [] }]))),
        [
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
        ]
    );
    assert_eq!(
        errors(&CLUSTERROLES, json!({ "aggregationRule": {} })),
        [
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"
        ]
    );
}

#[test]
fn bindings_name_a_role_and_subjects_with_their_groups() {
    let binding = |role: &str, subject: Value| json!({ "roleRef": { "kind": role, "name": "r" }, "subjects": [subject] });
    let user = json!({ "kind": "User", "name": "bob" });
    assert!(errors(&ROLEBINDINGS, binding("Role", user.clone())).is_empty());
    assert_eq!(
        errors(&CLUSTERROLEBINDINGS, binding("Role", user)),
        ["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""]
    );
    let account = json!({ "kind": "ServiceAccount", "name": "s" });
    assert!(errors(&ROLEBINDINGS, binding("Role", account.clone())).is_empty());
    assert_eq!(
        errors(&CLUSTERROLEBINDINGS, binding("ClusterRole", account)),
        ["subjects[0].namespace: Required value"]
    );
    let odd = json!({ "kind": "Robot", "name": "" });
    assert_eq!(errors(&ROLEBINDINGS, binding("Role", odd)).len(), 2);
    let group = json!({ "kind": "Group", "name": "g", "apiGroup": "apps" });
    assert_eq!(
        errors(&ROLEBINDINGS, binding("Role", group)),
        [format!("subjects[0].apiGroup: Unsupported value: \"apps\": supported values: \"{GROUP}\"")]
    );
}

#[test]
fn the_role_of_a_binding_stays() {
    let binding = |role: &str| {
        let metadata = json!({ "name": "b", "namespace": "a" });
        json!({ "metadata": metadata, "roleRef": { "apiGroup": GROUP, "kind": "Role", "name": role } })
    };
    let errors = ROLEBINDINGS.validate_update(&binding("s"), &binding("r"), crate::kinds::Part::Main);
    let told = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(
        told.starts_with("roleRef: Invalid value: ") && told.ends_with("cannot change roleRef"),
        "{told}"
    );
}
