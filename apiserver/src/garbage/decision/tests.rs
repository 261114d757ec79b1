//! Upstream's rules for what has lost its owners.

use super::*;
use crate::garbage::graph::ORPHAN;
use crate::garbage::graph::tests::{item, made};

fn graph(items: Vec<Item>) -> Graph {
    let mut graph = Graph::default();
    for item in items {
        graph.put(item.name.as_str().into(), Some(item));
    }
    graph
}

/// What is decided where owners are in these states.
fn decided(item: &Item, graph: &Graph, states: &[(&str, OwnerState)]) -> Action {
    of(item, graph, &|owner| states.iter().find(|(uid, _)| *uid == owner.uid).unwrap().1)
}

fn delete(propagation: Propagation) -> Action {
    Action::Delete { propagation, unblock: Vec::new() }
}

#[test]
fn an_object_goes_with_its_last_owner() {
    use OwnerState::{Absent, Solid, Unknown, Waiting};
    let (none, two) = (graph(vec![]), item("a", &["o", "p"]));
    let with = |o: OwnerState, p: OwnerState| decided(&two, &none, &[("o", o), ("p", p)]);
    assert_eq!(with(Solid, Solid), Action::Nothing);
    assert_eq!(with(Solid, Absent), Action::Unlink(vec!["p".to_owned()]));
    assert_eq!(with(Waiting, Solid), Action::Unlink(vec!["o".to_owned()]));
    assert_eq!(with(Absent, Absent), delete(Propagation::Background));
    assert_eq!(with(Absent, Waiting), delete(Propagation::Background));
    assert_eq!(with(Unknown, Unknown), Action::Nothing, "what is not known may be there");
    assert_eq!(with(Unknown, Absent), Action::Unlink(vec!["p".to_owned()]));
}

#[test]
fn what_is_being_deleted_is_left_alone() {
    let leaving = made("a", &["o"], &["example.com/hold"], true).unwrap();
    assert_eq!(decided(&leaving, &graph(vec![]), &[("o", OwnerState::Absent)]), Action::Nothing);
}

#[test]
fn an_object_that_has_dependents_waits_for_them_when_its_owner_does() {
    let a = item("a", &["o"]);
    let waiting = [("o", OwnerState::Waiting)];
    assert_eq!(decided(&a, &graph(vec![item("b", &["a"])]), &waiting), delete(Propagation::Foreground));
    assert_eq!(decided(&a, &graph(vec![item("b", &["z"])]), &waiting), delete(Propagation::Background));
    // In a circle somebody has to let go.
    let circle = graph(vec![made("b", &["a!"], &[FOREGROUND], true).unwrap()]);
    let expected = Action::Delete { propagation: Propagation::Foreground, unblock: vec!["b".into()] };
    assert_eq!(decided(&a, &circle, &waiting), expected);
}

#[test]
fn in_the_foreground_only_who_blocks_is_waited_for() {
    let owner = made("o", &[], &[FOREGROUND], true).unwrap();
    let blocking = graph(vec![item("a", &["o!"]), item("b", &["o"])]);
    assert_eq!(decided(&owner, &blocking, &[]), Action::Nothing);
    assert_eq!(decided(&owner, &graph(vec![item("b", &["o"])]), &[]), Action::Release(FOREGROUND));
}

#[test]
fn orphans_forget_their_owner_before_it_goes() {
    let owner = made("o", &[], &[ORPHAN], true).unwrap();
    let graph = graph(vec![item("a", &["o"]), item("b", &["p"])]);
    assert_eq!(decided(&owner, &graph, &[]), Action::Orphan(vec!["a".into()]));
    // Who is to orphan its own dependents does so when it is collected.
    let held = made("a", &["o"], &[ORPHAN], false).unwrap();
    assert_eq!(decided(&held, &graph, &[("o", OwnerState::Absent)]), delete(Propagation::Orphan));
}
