use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

/// `uid/name`, the second it was made in, and letters: `n`ewest, `o`ver.
fn dead(unit: &str, made: i64, marks: &str) -> Dead {
    let (uid, name) = unit.split_once('/').unwrap();
    Dead {
        id: format!("{unit}@{made}"),
        uid: uid.to_owned(),
        name: name.to_owned(),
        created_at: made * SECOND,
        is_newest: marks.contains('n'),
        is_over: marks.contains('o'),
    }
}

fn gone(all: &[Dead], most: usize, min_age: u64, now: i64) -> Vec<String> {
    beyond(all, most, Duration::from_secs(min_age), now * SECOND)
}

#[test]
fn row_40_2_each_container_keeps_equally_many_and_then_the_oldest_of_all_go() {
    let all = [
        dead("a/c", 10, ""),
        dead("a/c", 20, ""),
        dead("a/c", 30, "n"),
        dead("b/c", 15, "o"),
        dead("b/c", 25, "no"),
        dead("b/d", 12, "no"),
    ];
    assert_eq!(gone(&all, 6, 0, 100), [""; 0]);
    // Three containers, two of each.
    assert_eq!(gone(&all, 5, 0, 100), ["a/c@10", "b/c@15", "a/c@20"]);
    assert_eq!(gone(&all, 3, 0, 100), ["a/c@10", "b/c@15", "a/c@20"]);
    assert_eq!(gone(&all, 2, 0, 100), ["a/c@10", "b/d@12", "b/c@15", "a/c@20"]);
    // The newest one of a pod that is not over stays, although none may.
    assert_eq!(gone(&all, 0, 0, 100), ["a/c@10", "b/d@12", "b/c@15", "a/c@20", "b/c@25"]);
}

#[test]
fn row_40_2_what_is_younger_than_the_minimum_age_neither_goes_nor_counts() {
    let all = [dead("a/c", 10, "o"), dead("a/c", 50, "o"), dead("a/c", 90, "no")];
    assert_eq!(gone(&all, 1, 60, 100), [""; 0]);
    assert_eq!(gone(&all, 1, 60, 110), ["a/c@10"]);
    assert_eq!(gone(&all, 0, 60, 100), ["a/c@10"]);
}

#[test]
fn what_nobody_needs_is_all_but_the_newest_of_pods_that_go_on() {
    let all = [dead("a/c", 10, ""), dead("a/c", 30, "n"), dead("b/c", 15, "o"), dead("b/c", 5, "no")];
    assert_eq!(needless(&all), ["b/c@5", "a/c@10", "b/c@15"]);
}

proptest! {
    #[test]
    fn at_most_so_many_are_left_or_none_that_may_go(
        kinds in vec((0_u8..4, 0_u8..3, 0_i64..100, any::<bool>()), 0..40),
        most in 0_usize..20,
    ) {
        let mut all: Vec<Dead> = Vec::new();
        for (n, (pod, name, made, over)) in kinds.iter().enumerate() {
            let mut one = dead(&format!("{pod}/{name}"), *made, "");
            one.id = n.to_string();
            // All of a pod agree.
            one.is_over = all.iter().find(|d| d.uid == one.uid).map_or(*over, |d| d.is_over);
            all.push(one);
        }
        for unit in all.iter().map(|d| (d.uid.clone(), d.name.clone())).collect::<std::collections::BTreeSet<_>>() {
            let newest = all.iter_mut().filter(|d| (&d.uid, &d.name) == (&unit.0, &unit.1)).max_by_key(|d| d.created_at);
            if let Some(newest) = newest {
                newest.is_newest = true;
            }
        }
        let gone = gone(&all, most, 0, 1000);
        let left: Vec<&Dead> = all.iter().filter(|d| !gone.contains(&d.id)).collect();
        prop_assert_eq!(left.len() + gone.len(), all.len(), "none goes twice");
        prop_assert!(left.len() <= most || left.iter().all(|d| !d.may_go()));
        prop_assert!(gone.iter().all(|id| all.iter().any(|d| d.id == *id && d.may_go())));
        prop_assert!(all.len() > most || gone.is_empty());
    }
}
