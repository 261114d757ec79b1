use proptest::prelude::*;

use super::ranges::parse_getsubids;
use super::*;
use crate::node::RuntimeHandler;

fn users(dir: &tempfile::TempDir) -> Users {
    Users::new(dir.path(), None, 110)
}

fn prepared(dir: &tempfile::TempDir, uid: &str) {
    fs::create_dir_all(dir.path().join("pods").join(uid)).expect("made");
}

fn first(users: &Users, uid: &str) -> u32 {
    let given = users.of_pod(uid).expect("a range");
    assert_eq!((given.mode, &given.uids), (v1::NamespaceMode::Pod as i32, &given.gids));
    assert_eq!((given.uids.len(), given.uids[0].container_id, given.uids[0].length), (1, 0, 65_536));
    given.uids[0].host_id
}

#[test]
fn row_7_10_each_pod_has_one_range_beyond_the_nodes_own_ids_and_keeps_it_over_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    for uid in ["a", "b", "c"] {
        prepared(&dir, uid);
    }
    let before = users(&dir);
    let (a, b) = (first(&before, "a"), first(&before, "b"));
    assert!(a >= 65_536 && a.is_multiple_of(65_536) && a != b);
    let text = fs::read_to_string(dir.path().join("pods/a/userns")).expect("kept");
    let mapping = format!("[{{\"hostId\":{a},\"containerId\":0,\"length\":65536}}]");
    assert_eq!(text, format!("{{\"uidMappings\":{mapping},\"gidMappings\":{mapping}}}"), "a kubelet's file");
    let after = users(&dir);
    // Whoever asks first: nobody gets what another has.
    let c = first(&after, "c");
    assert!(c != a && c != b);
    assert_eq!((first(&after, "a"), first(&after, "b")), (a, b));
    fs::remove_dir_all(dir.path().join("pods/a")).expect("removed");
    after.release("a");
    prepared(&dir, "d");
    assert_eq!(first(&after, "d"), a, "free again");
}

#[test]
fn row_7_10_what_is_kept_and_damaged_is_told_and_never_taken_for_another_range() {
    let dir = tempfile::tempdir().expect("a directory");
    prepared(&dir, "a");
    let users = users(&dir);
    let mapping = |id: u32, inside: u32, length: u32| {
        format!("{{\"hostId\":{id},\"containerId\":{inside},\"length\":{length}}}")
    };
    let pair = |one: &str, other: &str| format!("{{\"uidMappings\":[{one}],\"gidMappings\":[{other}]}}");
    let same = |one: String| pair(&one, &one);
    let table = [
        ("{".to_owned(), "EOF"),
        (pair(&mapping(65_536, 0, 65_536), &mapping(131_072, 0, 65_536)), "same for users and groups"),
        (same(mapping(65_536, 5, 65_536)), "begins with 0"),
        (same(mapping(65_536, 0, 70_000)), "wrong user namespace length 70000"),
        (same(mapping(70_000, 0, 65_536)), "wrong user namespace offset specified 70000"),
        (same(mapping(0, 0, 65_536)), "id 0 is out of range"),
    ];
    for (text, expected) in table {
        fs::write(dir.path().join("pods/a/userns"), &text).expect("written");
        let error = users.of_pod("a").expect_err("damaged").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn row_7_10_the_handler_has_to_support_it() {
    let handler = |name: &str, user_namespaces| RuntimeHandler {
        name: name.to_owned(),
        user_namespaces,
        ..RuntimeHandler::default()
    };
    let handlers = [handler("", true), handler("old", false)];
    assert!(check_handler(&handlers, "").is_ok());
    let said = |handler: &str| check_handler(&handlers, handler).expect_err("refused").to_string();
    let expected = |name: &str| {
        format!(
            "can't set `spec.hostUsers: false`, RuntimeClass handler {name:?} does not support user namespaces"
        )
    };
    assert_eq!((said("old"), said("none")), (expected("old"), expected("none")));
    assert_eq!(
        check_handler(&[], "").expect_err("refused").to_string(),
        "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
    );
}

#[test]
fn row_7_10_ranges_that_cannot_be_used_say_why() {
    let unit = 65_536;
    let said = |first, ids, length, pods| Ranges::new(first, ids, length, pods).expect_err("refused");
    assert!(Ranges::new(unit, unit * 110, unit, 110).is_ok());
    assert!(Ranges::new(2 * unit, u32::MAX - 2 * unit + 1, 2 * unit, 110).is_ok());
    assert!(said(unit, unit * 110, 1000, 1).contains("length 1000 is not a multiple of 65536"));
    assert!(said(100_000, unit, unit, 1).contains("assigned ID 100000 is not a multiple"));
    assert!(said(0, unit, unit, 1).contains("must be greater or equal"));
    assert!(said(unit, 100_000, unit, 1).contains("length 100000 is not a multiple"));
    assert!(said(unit, unit * 109, unit, 110).contains("not enough to support 110 pods"));
    assert!(said(u32::MAX - unit + 1, 2 * unit, unit, 1).contains("no ids"));
    assert_eq!(parse_getsubids("0: kubelet 65536 7208960\n"), Ok((65_536, 7_208_960)));
    for wrong in
        ["", "0: kubelet 65536", "0: kubelet a 1", "0: kubelet 1 2\n1: kubelet 3 4\n", "0: kubelet -1 2"]
    {
        assert!(parse_getsubids(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    /// Pods come, go and come back after a restart in any order: no two have one range, and none is lost.
    #[test]
    fn no_range_is_given_twice_and_none_is_lost(steps in prop::collection::vec((0u8..3, 0u8..12), 1..200)) {
        let new = || Ranges::new(65_536, 65_536 * 8, 65_536, 8).expect("ranges");
        let mut ranges = new();
        let mut held: std::collections::BTreeMap<String, u32> = std::collections::BTreeMap::new();
        for (what, pod) in steps {
            let pod = pod.to_string();
            match what {
                0 => match ranges.allocate(&pod) {
                    Ok(first) => prop_assert_eq!(*held.entry(pod).or_insert(first), first),
                    Err(error) => prop_assert!(error == RangeError::Full && held.len() == 8 && !held.contains_key(&pod)),
                },
                1 => {
                    ranges.release(&pod);
                    held.remove(&pod);
                }
                _ => {
                    ranges = new();
                    for (pod, first) in &held {
                        prop_assert_eq!(ranges.record(pod, *first, 65_536), Ok(()));
                    }
                }
            }
            let different: std::collections::BTreeSet<u32> = held.values().copied().collect();
            prop_assert_eq!(different.len(), held.len());
        }
    }
}
