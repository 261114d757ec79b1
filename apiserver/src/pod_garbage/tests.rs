//! Which pods go, and when.

use super::*;

fn pod(node: Option<&str>) -> Seen<'_> {
    Seen { node, deleting: false, ended: None }
}

fn deleting(node: Option<&str>) -> Seen<'_> {
    Seen { deleting: true, ..pod(node) }
}

fn ended(created: &str) -> Seen<'static> {
    Seen { ended: Some(created.to_owned()), ..pod(Some("n")) }
}

fn nodes() -> Nodes {
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Nodes { there: set(&["n", "broken"]), out_of_service: set(&["broken"]), missing: HashMap::new() }
}

#[test]
fn pods_of_a_node_go_when_it_has_been_gone_for_a_while() {
    let (mut nodes, now) = (nodes(), Instant::now());
    let pods = [pod(Some("n")), pod(Some("gone")), pod(None)];
    assert_eq!(plan(&pods, &mut nodes, 0, now), []);
    assert_eq!(plan(&pods, &mut nodes, 0, now + QUARANTINE - Duration::from_secs(1)), []);
    assert_eq!(plan(&pods, &mut nodes, 0, now + QUARANTINE), [(1, Why::NoNode)]);
    // It was back in between: the time begins anew.
    nodes.there.insert("gone".to_owned());
    assert_eq!(plan(&pods, &mut nodes, 0, now + QUARANTINE), []);
    nodes.there.remove("gone");
    assert_eq!(plan(&pods, &mut nodes, 0, now + QUARANTINE), []);
}

#[test]
fn deleted_pods_go_that_no_node_will_let_go() {
    let pods = [deleting(None), deleting(Some("n")), deleting(Some("broken")), pod(Some("broken"))];
    let expected = [(0, Why::NeverBegun), (2, Why::OutOfService)];
    assert_eq!(plan(&pods, &mut nodes(), 0, Instant::now()), expected);
}

#[test]
fn of_pods_that_have_ended_the_oldest_go() {
    let pods = [ended("2026-01-03"), ended("2026-01-01"), ended("2026-01-02"), pod(Some("n"))];
    let doomed = |most: usize| plan(&pods, &mut nodes(), most, Instant::now());
    assert_eq!(doomed(3), []);
    assert_eq!(doomed(2), [(1, Why::TooMany)]);
    assert_eq!(doomed(1), [(1, Why::TooMany), (2, Why::TooMany)]);
    assert_eq!(doomed(0), [], "then all are kept");
}
