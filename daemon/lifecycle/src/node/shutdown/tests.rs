use super::super::testing::pod;
use super::*;
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn groups() -> Vec<ShutdownGroup> {
    // In any order.
    [(2_000_000_000, 10), (0, 20), (1000, 5)]
        .map(|(priority, seconds)| ShutdownGroup { priority, period: SECOND * seconds })
        .into()
}

/// Of a node that knows all its pods.
fn shutdown(groups: Vec<ShutdownGroup>) -> Shutdown {
    let mut shutdown = Shutdown::new(groups);
    shutdown.gathered();
    shutdown
}

fn claims(pods: &[(&str, Option<i32>)]) -> BTreeMap<String, Claim> {
    let claim = |(uid, priority): &(&str, Option<i32>)| {
        ((*uid).to_owned(), Claim::of(&pod(json!({"spec": {"priority": priority}})), 1))
    };
    pods.iter().map(claim).collect()
}

/// Who is told to end, with how many seconds; and whether all is over.
fn step(shutdown: &mut Shutdown, claims: &BTreeMap<String, Claim>, at: u32) -> (Vec<(String, u64)>, bool) {
    let mut out = Vec::new();
    shutdown.step(true, claims, SECOND * at, &mut out);
    let over = out.contains(&NodeEffect::ShutdownOver);
    let told = out.into_iter().filter_map(|effect| match effect {
        NodeEffect::End { uid, reason, message, grace, .. } => {
            assert_eq!((reason.as_str(), message.as_str()), (REASON, MESSAGE));
            Some((uid, grace.expect("a bounded grace").as_secs()))
        }
        _ => None,
    });
    (told.collect(), over)
}

fn told(pods: &[(&str, u64)]) -> Vec<(String, u64)> {
    pods.iter().map(|(uid, grace)| ((*uid).to_owned(), *grace)).collect()
}

#[test]
fn row_42_3_groups_end_by_rising_priority_each_when_the_one_before_has_settled() {
    let mut shutdown = shutdown(groups());
    let mut pods =
        claims(&[("low", Some(-5)), ("none", None), ("mid", Some(1000)), ("high", Some(2_000_001_000))]);
    assert_eq!(step(&mut shutdown, &pods, 100), (told(&[("low", 20), ("none", 20)]), false));
    assert_eq!(shutdown.next_wake(), Some(SECOND * 120));
    pods.remove("low");
    shutdown.settled("low");
    assert_eq!(step(&mut shutdown, &pods, 101), (vec![], false), "one of the group is still there");
    // It runs no more, but its volumes are not unmounted yet.
    pods.remove("none");
    assert_eq!(step(&mut shutdown, &pods, 102), (vec![], false));
    shutdown.settled("none");
    assert_eq!(step(&mut shutdown, &pods, 103), (told(&[("mid", 5)]), false));
    pods.remove("mid");
    shutdown.settled("mid");
    assert_eq!(step(&mut shutdown, &pods, 104), (told(&[("high", 10)]), false));
    pods.remove("high");
    shutdown.settled("high");
    assert_eq!(step(&mut shutdown, &pods, 105), (vec![], true));
    assert_eq!(step(&mut shutdown, &pods, 106), (vec![], false), "it is told once");
}

#[test]
fn row_42_3_a_group_is_waited_for_as_long_as_its_period_and_no_longer() {
    let mut shutdown = shutdown(groups());
    let pods = claims(&[("stuck", None), ("high", Some(2_000_000_000))]);
    assert_eq!(step(&mut shutdown, &pods, 0), (told(&[("stuck", 20)]), false));
    assert_eq!(step(&mut shutdown, &pods, 19), (vec![], false));
    // The group between has no pods and takes no time.
    assert_eq!(step(&mut shutdown, &pods, 20), (told(&[("high", 10)]), false));
    assert_eq!(step(&mut shutdown, &pods, 30), (vec![], true));
}

#[test]
fn a_pod_that_turns_up_late_gets_what_is_left_of_the_time() {
    let mut shutdown = shutdown(groups());
    let mut pods = claims(&[("high", Some(2_000_000_000))]);
    assert_eq!(step(&mut shutdown, &pods, 0), (told(&[("high", 10)]), false));
    pods.extend(claims(&[("late", None)]));
    assert_eq!(step(&mut shutdown, &pods, 4), (told(&[("late", 6)]), false));
    assert_eq!(step(&mut shutdown, &pods, 10), (vec![], true));
    pods.extend(claims(&[("later", None)]));
    assert_eq!(step(&mut shutdown, &pods, 11), (told(&[("later", 0)]), false));
}

#[test]
fn row_42_4_a_node_that_stays_up_after_all_begins_anew_the_next_time() {
    let mut shutdown = shutdown(groups());
    let pods = claims(&[("a", None)]);
    assert_eq!(step(&mut shutdown, &pods, 0).0.len(), 1);
    let mut out = Vec::new();
    shutdown.step(false, &pods, SECOND, &mut out);
    assert!(out.is_empty() && shutdown.next_wake().is_none());
    assert_eq!(step(&mut shutdown, &pods, 50), (told(&[("a", 20)]), false));
}

#[test]
fn row_42_1_without_periods_nobody_is_ended_and_nobody_waited_for() {
    let mut shutdown = shutdown(Vec::new());
    assert_eq!(step(&mut shutdown, &claims(&[("a", None)]), 0), (vec![], true));
    assert_eq!(step(&mut shutdown, &claims(&[("a", None)]), 1), (vec![], false));
}

#[test]
fn a_daemon_that_begins_meanwhile_ends_nobody_before_it_knows_its_pods() {
    let mut shutdown = Shutdown::new(groups());
    let mut pods = claims(&[("high", Some(2_000_000_000))]);
    assert_eq!(step(&mut shutdown, &pods, 0), (vec![], false));
    pods.extend(claims(&[("low", None)]));
    shutdown.gathered();
    assert_eq!(step(&mut shutdown, &pods, 1), (told(&[("low", 20)]), false));
}
