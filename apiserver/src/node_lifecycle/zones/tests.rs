//! One node after the other, and none where all fail.

use super::*;

const READY: Standing<'_> = Standing { zone: "z", ready: true, spoken: true, given_up: false };
const FAILED: Standing<'_> = Standing { ready: false, ..READY };
const GIVEN_UP: Standing<'_> = Standing { given_up: true, ..FAILED };

fn names(given_up: &GivenUp) -> Vec<&str> {
    given_up.now.iter().map(String::as_str).collect()
}

#[test]
fn nodes_of_a_zone_are_given_up_one_in_ten_seconds() {
    let (mut zones, now) = (Zones::default(), Instant::now());
    let mut nodes = vec![("a", READY), ("b", READY), ("c", READY), ("d", FAILED), ("e", FAILED)];
    nodes.push(("f", Standing { zone: "y", ..FAILED }));
    nodes.push(("g", Standing { zone: "y", ..READY }));
    assert_eq!(names(&zones.given_up(&nodes, now)), ["d", "f"], "each zone for itself");
    nodes[3].1 = GIVEN_UP;
    nodes[5].1 = Standing { zone: "y", ..GIVEN_UP };
    assert_eq!(names(&zones.given_up(&nodes, now + USUAL - Duration::from_millis(1))), [""; 0]);
    let later = zones.given_up(&nodes, now + USUAL);
    assert_eq!(names(&later), ["e"]);
    assert_eq!(
        (later.of("e"), later.of("d"), later.of("a")),
        (Evicting::Now, Evicting::NotYet, Evicting::NotYet)
    );
}

#[test]
fn a_node_that_never_spoke_is_not_given_up() {
    let silent = Standing { spoken: false, ..FAILED };
    assert_eq!(names(&Zones::default().given_up(&[("a", READY), ("b", silent)], Instant::now())), [""; 0]);
}

#[test]
fn in_a_disturbed_zone_nodes_stay_or_go_slowly() {
    let now = Instant::now();
    let some = |ready: usize, failed: usize| {
        let names: Vec<String> = (0..ready + failed).map(|n| format!("{n:03}")).collect();
        let standing = |index: usize| if index < ready { READY } else { FAILED };
        let nodes: Vec<_> = names.iter().enumerate().map(|(i, name)| (name.as_str(), standing(i))).collect();
        let mut zones = Zones::default();
        let first = zones.given_up(&nodes, now).now.len();
        let after = zones.given_up(&nodes, now + USUAL).now.len();
        (first, after, zones.given_up(&nodes, now + SLOW).now.len())
    };
    assert_eq!(some(1, 2), (1, 1, 1), "two are not many");
    assert_eq!(some(3, 3), (1, 1, 1), "half is not enough");
    assert_eq!(some(2, 3), (0, 0, 0));
    assert_eq!(some(20, 40), (1, 0, 1));
}

#[test]
fn where_no_node_is_ready_none_is_given_up_and_all_have_their_time_again() {
    let (mut zones, now) = (Zones::default(), Instant::now());
    let nobody = zones.given_up(&[("a", FAILED), ("b", GIVEN_UP)], now);
    assert_eq!(
        (nobody.of("a"), nobody.of("b"), nobody.begins_again),
        (Evicting::Never, Evicting::Never, false)
    );
    let again = zones.given_up(&[("a", READY), ("b", FAILED)], now + USUAL);
    assert!(again.begins_again);
    assert_eq!(again.of("b"), Evicting::NotYet);
    let usual = zones.given_up(&[("a", READY), ("b", FAILED)], now + USUAL);
    assert_eq!((usual.begins_again, usual.of("b")), (false, Evicting::Now));
    assert!(!Zones::default().given_up(&[], now).nobody, "no nodes at all are no failure");
}
