//! Who may stay on a tainted node, and how long.

use serde_json::json;

use super::*;

fn taint(key: &str) -> Taint {
    Taint { key: key.to_owned(), effect: "NoExecute".to_owned(), ..Taint::default() }
}

fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
    Toleration {
        key: Some(key.to_owned()).filter(|k| !k.is_empty()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: seconds,
        ..Toleration::default()
    }
}

#[test]
fn the_shortest_toleration_counts_and_a_taint_that_is_not_tolerated_is_final() {
    let seconds = |s| Stay::For(Duration::from_secs(s));
    let one = [taint("a")];
    assert_eq!(stay(&one, &[]), Stay::No);
    assert_eq!(stay(&one, &[toleration("b", None)]), Stay::No);
    assert_eq!(stay(&one, &[toleration("a", None)]), Stay::Always);
    assert_eq!(stay(&one, &[toleration("a", Some(300))]), seconds(300));
    assert_eq!(stay(&one, &[toleration("a", Some(0))]), Stay::No);
    assert_eq!(stay(&one, &[toleration("a", Some(-1))]), Stay::No);
    assert_eq!(stay(&one, &[toleration("", None)]), Stay::Always, "without a key all are tolerated");
    let two = [taint("a"), taint("b")];
    assert_eq!(stay(&two, &[toleration("a", Some(300)), toleration("b", Some(10))]), seconds(10));
    assert_eq!(stay(&two, &[toleration("a", None), toleration("b", Some(10))]), seconds(10));
    assert_eq!(stay(&two, &[toleration("a", None)]), Stay::No);
    assert_eq!(stay(&[], &[]), Stay::Always);
}

#[test]
fn only_taints_that_execute_are_read() {
    let node = json!({ "spec": { "taints": [
        { "key": "a", "effect": "NoSchedule" },
        { "key": "b", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z" },
    ] } });
    let read: Vec<String> = no_execute(&node).into_iter().map(|taint| taint.key).collect();
    assert_eq!(read, ["b"]);
    assert_eq!(no_execute(&json!({})), []);
}
