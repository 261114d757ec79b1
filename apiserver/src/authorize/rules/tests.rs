//! What one rule allows, and what it covers.

use serde_json::{Value, json};

use super::super::tests::{on, path};
use super::{AtomOn, Rule};

fn rule(value: Value) -> Rule {
    Rule::of(&value)
}

fn resources(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Rule {
    rule(json!({ "verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names }))
}

#[test]
fn a_rule_allows_what_it_names_and_no_more() {
    let cases = [
        (resources(&["get"], &[""], &["pods"], &[]), on("get", "pods", "p"), true),
        (resources(&["get"], &[""], &["pods"], &[]), on("list", "pods", ""), false),
        (resources(&["get"], &[""], &["pods"], &[]), on("get", "pods/log", "p"), false),
        (resources(&["get"], &["apps"], &["pods"], &[]), on("get", "pods", "p"), false),
        (resources(&["*"], &["*"], &["*"], &[]), on("delete", "pods/log", "p"), true),
        (resources(&["*"], &[""], &["pods/*"], &[]), on("get", "pods/log", "p"), false),
        (resources(&["*"], &[""], &["*/log"], &[]), on("get", "pods/log", "p"), true),
        (resources(&["*"], &[""], &["*/log"], &[]), on("get", "pods", "p"), false),
        (resources(&["get"], &[""], &["pods"], &["p"]), on("get", "pods", "p"), true),
        (resources(&["get"], &[""], &["pods"], &["p"]), on("get", "pods", "q"), false),
        (resources(&["list"], &[""], &["pods"], &["p"]), on("list", "pods", ""), false),
        (resources(&["*"], &["*"], &["*"], &[]), path("/metrics"), false),
    ];
    for (rule, attributes, expected) in cases {
        assert_eq!(rule.allows(&attributes), expected, "{rule} {attributes:?}");
    }
}

#[test]
fn a_path_is_covered_by_itself_and_by_a_star_behind_its_beginning() {
    let cases = [
        ("/healthz", "/healthz", true),
        ("/healthz", "/healthz/ping", false),
        ("/api/*", "/api/v1", true),
        ("/api/*", "/api", false),
        ("/api/*", "/apis", false),
        ("*", "/anything", true),
    ];
    for (pattern, asked, expected) in cases {
        let rule = rule(json!({ "verbs": ["get"], "nonResourceURLs": [pattern] }));
        assert_eq!(rule.allows(&path(asked)), expected, "{pattern} {asked}");
        assert!(!rule.allows(&on("get", "pods", "")), "{pattern}");
    }
}

#[test]
fn a_rule_covers_its_own_parts_and_not_what_is_wider() {
    let own = resources(&["get", "list"], &["", "apps"], &["pods", "pods/log"], &["a", "b"]);
    assert_eq!(own.atoms().count(), 16);
    assert_eq!(own.size(), 16);
    assert!(own.atoms().all(|atom| own.covers(&atom)));
    let wider = resources(&["get"], &[""], &["pods"], &[]);
    assert!(own.atoms().all(|atom| !matches!(atom.on, AtomOn::Resource { name: None, .. })));
    assert!(wider.atoms().all(|atom| !own.covers(&atom)), "all names are more than two");
    let star = resources(&["*"], &[""], &["pods"], &[]);
    assert!(star.atoms().all(|atom| !wider.covers(&atom)), "every verb is more than one");
    let paths = rule(json!({ "verbs": ["get"], "nonResourceURLs": ["/api/*"] }));
    let narrower = rule(json!({ "verbs": ["get"], "nonResourceURLs": ["/api/v1", "/api/v1/*"] }));
    assert!(narrower.atoms().all(|atom| paths.covers(&atom)));
    assert!(!paths.atoms().any(|atom| narrower.covers(&atom)));
}

#[test]
fn a_rule_is_shown_as_upstream_shows_it() {
    let shown = resources(&["get", "list"], &[""], &["pods"], &["x"]).to_string();
    assert_eq!(shown, r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["x"], Verbs:["get" "list"]}"#);
}
