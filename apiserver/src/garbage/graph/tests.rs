//! The graph knows who is to be looked at after each change.

use serde_json::json;

use super::*;
use crate::kinds::configmaps::CONFIGMAPS;

/// A config map of this name, whose UID is its name, with these owners.
pub(crate) fn item(name: &str, owners: &[&str]) -> Item {
    made(name, owners, &[], false).unwrap()
}

pub(crate) fn made(name: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> Option<Item> {
    let owner = |uid: &&str| {
        let (uid, blocks) = uid.strip_suffix('!').map_or((*uid, false), |uid| (uid, true));
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocks })
    };
    let mut object = json!({
        "metadata": {
            "name": name, "namespace": "x", "uid": name, "finalizers": finalizers,
            "ownerReferences": owners.iter().map(owner).collect::<Vec<_>>(),
        },
    });
    if deleting {
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    Item::of(&CONFIGMAPS, &object)
}

fn dirty(graph: &mut Graph) -> Vec<String> {
    graph.take_dirty(100).iter().map(|key| key.to_string()).collect()
}

#[test]
fn only_objects_with_owners_or_that_wait_are_kept() {
    assert!(made("a", &[], &[], false).is_none());
    assert!(made("a", &[], &["example.com/other"], true).is_none());
    assert!(made("a", &[], &[FOREGROUND], false).is_none());
    assert!(made("a", &[], &[FOREGROUND], true).is_some());
    assert!(made("a", &[], &[ORPHAN], true).is_some());
    assert!(made("a", &["o"], &[], false).is_some());
}

#[test]
fn when_an_owner_goes_its_dependents_are_looked_at() {
    let mut graph = Graph::default();
    graph.put("a".into(), Some(item("a", &["o"])));
    graph.put("b".into(), Some(item("b", &["o", "p"])));
    graph.put("c".into(), Some(item("c", &["p"])));
    assert_eq!(dirty(&mut graph), ["a", "b", "c"]);
    graph.gone("o", "o");
    assert_eq!(dirty(&mut graph), ["a", "b"]);
    graph.put("b".into(), Some(item("b", &["p"])));
    assert_eq!(dirty(&mut graph), ["b"]);
    graph.gone("o", "o");
    assert_eq!(dirty(&mut graph), ["a"]);
    graph.put("a".into(), None);
    graph.gone("o", "o");
    assert_eq!(dirty(&mut graph), Vec::<String>::new());
}

#[test]
fn a_write_that_changes_nothing_of_this_makes_no_work() {
    let mut graph = Graph::default();
    graph.put("a".into(), Some(item("a", &["o"])));
    dirty(&mut graph);
    graph.put("a".into(), Some(item("a", &["o"])));
    assert_eq!(dirty(&mut graph), Vec::<String>::new());
}

#[test]
fn who_waits_is_looked_at_again_when_a_dependent_goes() {
    let mut graph = Graph::default();
    graph.put("a".into(), Some(item("a", &["o!"])));
    dirty(&mut graph);
    graph.put("o".into(), made("o", &[], &[FOREGROUND], true));
    assert_eq!(dirty(&mut graph), ["a", "o"], "and its dependents with it");
    graph.gone("a", "a");
    assert_eq!(dirty(&mut graph), ["o"]);
}
