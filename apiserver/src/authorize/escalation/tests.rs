//! Nobody gives away what he lacks.

use serde_json::json;

use super::super::rules::Rule;
use super::super::tests::user;
use super::confirm;

fn rule(verbs: &[&str], resources: &[&str]) -> Rule {
    Rule::of(&json!({ "verbs": verbs, "apiGroups": [""], "resources": resources }))
}

#[test]
fn rights_that_are_held_by_several_rules_together_may_be_given() {
    let held = [rule(&["get", "list"], &["pods"]), rule(&["get"], &["secrets"])];
    let bob = user("bob", &["dev"]);
    assert_eq!(confirm(&bob, &held, &[rule(&["get"], &["pods", "secrets"])]), Ok(()));
    assert_eq!(confirm(&bob, &held, &[]), Ok(()));
    let refused = confirm(&bob, &held, &[rule(&["get", "list", "watch"], &["secrets"])]).unwrap_err();
    assert_eq!(
        refused,
        "user \"bob\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"list\" \"watch\"]}"
    );
    assert!(confirm(&bob, &held, &[rule(&["*"], &["pods"])]).is_err());
}

#[test]
fn a_role_of_absurd_size_is_refused_before_it_is_taken_apart() {
    let many: Vec<String> = (0..1000).map(|i| format!("r{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = confirm(&user("bob", &[]), &[], &[rule(&many, &many)]).unwrap_err();
    assert!(refused.contains("10000 single permissions"), "{refused}");
}
