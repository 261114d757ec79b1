use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::Probe;
use proptest::prelude::*;

use super::*;
use crate::timing::Timing;
use crate::worker::Purpose;

const BOUNDS: Bounds = Bounds { network: 3, exec: 2 };

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn worker(purpose: Purpose, started: u64) -> Worker {
    let timing = Timing::of(&Probe::default(), purpose);
    Worker::new(purpose, timing, secs(started), Duration::ZERO, Duration::ZERO)
}

fn started(schedule: &mut Schedule<u32>, now: u64) -> Vec<Due<u32>> {
    std::iter::from_fn(|| schedule.start(secs(now))).collect()
}

fn keys(due: &[Due<u32>]) -> Vec<u32> {
    due.iter().map(|d| d.key).collect()
}

#[test]
fn probes_start_by_their_deadlines_and_never_before_them() {
    let mut schedule = Schedule::new(BOUNDS);
    for (key, at) in [(1, 7), (2, 3), (3, 5)] {
        schedule.add(key, Lane::Network, worker(Purpose::Readiness, at));
    }
    assert_eq!(schedule.next(), Some(secs(3)));
    assert!(started(&mut schedule, 2).is_empty());
    let due = started(&mut schedule, 6);
    assert_eq!(keys(&due), [2, 3]);
    assert_eq!(due[0].late, secs(3));
    assert_eq!(schedule.next(), Some(secs(7)));
}

#[test]
fn a_probe_under_way_is_not_started_again_and_a_finished_one_at_its_next_beat() {
    let mut schedule = Schedule::new(BOUNDS);
    schedule.add(1, Lane::Network, worker(Purpose::Readiness, 0));
    let due = started(&mut schedule, 0);
    assert_eq!((schedule.next(), schedule.start(secs(100))), (None, None));
    assert_eq!(schedule.finish(&1, due[0].start, Some(true), secs(4)), Some(true));
    assert_eq!(schedule.next(), Some(secs(10)));
    assert_eq!(schedule.finish(&1, due[0].start, Some(false), secs(4)), None, "it has finished once");
}

#[test]
fn a_full_lane_waits_for_room_and_does_not_hold_up_the_other() {
    let mut schedule = Schedule::new(BOUNDS);
    for key in 0..4 {
        schedule.add(key, Lane::Exec, worker(Purpose::Readiness, 0));
    }
    schedule.add(9, Lane::Network, worker(Purpose::Readiness, 1));
    let due = started(&mut schedule, 1);
    assert_eq!(keys(&due), [0, 1, 9]);
    assert_eq!(schedule.next(), None);
    schedule.finish(&1, due[1].start, None, secs(2));
    assert_eq!(schedule.next(), Some(secs(0)), "one that waits for longer goes first");
    assert_eq!(keys(&started(&mut schedule, 2)), [2]);
}

#[test]
fn what_is_removed_or_replaced_gives_its_room_back_and_has_no_late_result() {
    let mut schedule = Schedule::new(Bounds { network: 1, exec: 1 });
    schedule.add(1, Lane::Network, worker(Purpose::Liveness, 0));
    schedule.add(2, Lane::Network, worker(Purpose::Readiness, 0));
    let first = started(&mut schedule, 0);
    assert_eq!(keys(&first), [1]);
    schedule.remove(&1);
    let second = started(&mut schedule, 0);
    assert_eq!(keys(&second), [2]);
    schedule.add(2, Lane::Network, worker(Purpose::Readiness, 0));
    assert_eq!(schedule.finish(&2, second[0].start, Some(true), secs(0)), None);
    assert_eq!(keys(&started(&mut schedule, 0)), [2]);
    schedule.remove(&2);
    assert!(schedule.is_empty());
    assert_eq!(schedule.next(), None);
}

#[test]
fn row_19_6_a_probe_with_a_final_verdict_rests_until_it_is_replaced() {
    let mut schedule = Schedule::new(BOUNDS);
    schedule.add(1, Lane::Network, worker(Purpose::Startup, 0));
    let due = started(&mut schedule, 0);
    assert_eq!(schedule.finish(&1, due[0].start, Some(true), secs(0)), Some(true));
    assert_eq!((schedule.next(), schedule.len()), (None, 1));
    schedule.add(1, Lane::Network, worker(Purpose::Startup, 50));
    assert_eq!(schedule.next(), Some(secs(50)));
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8, bool, Purpose, u16),
    Remove(u8),
    Start,
    /// Of the starts under way, the n-th.
    Finish(usize, Option<bool>),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let purpose = prop_oneof![Just(Purpose::Startup), Just(Purpose::Liveness), Just(Purpose::Readiness)];
    prop_oneof![
        (0_u8..12, any::<bool>(), purpose, 0_u16..60).prop_map(|(k, exec, p, s)| Step::Add(k, exec, p, s)),
        (0_u8..12).prop_map(Step::Remove),
        Just(Step::Start),
        (any::<prop::sample::Index>(), any::<Option<bool>>()).prop_map(|(i, r)| Step::Finish(i.index(8), r)),
        (0_u16..20).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Beside a model that only knows who is under way: bounds hold, nobody overlaps himself or starts early, whoever has
    /// waited longest goes first, and whatever has to be probed is never forgotten.
    #[test]
    fn whatever_happens_the_schedule_keeps_its_rules(steps in prop::collection::vec(step(), 0..200)) {
        let mut schedule = Schedule::new(BOUNDS);
        let mut lanes: HashMap<u8, Lane> = HashMap::new();
        let mut under_way: Vec<(u8, u64)> = Vec::new();
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Add(key, exec, purpose, at) => {
                    let lane = if exec { Lane::Exec } else { Lane::Network };
                    schedule.add(key, lane, worker(purpose, u64::from(at)));
                    lanes.insert(key, lane);
                    under_way.retain(|(k, _)| *k != key);
                }
                Step::Remove(key) => {
                    schedule.remove(&key);
                    lanes.remove(&key);
                    under_way.retain(|(k, _)| *k != key);
                }
                Step::Start => {
                    let next = schedule.next();
                    match schedule.start(now) {
                        Some(due) => {
                            prop_assert_eq!(next, Some(now - due.late));
                            prop_assert!(lanes.contains_key(&due.key));
                            prop_assert!(under_way.iter().all(|(k, _)| *k != due.key), "overlaps itself");
                            under_way.push((due.key, due.start));
                        }
                        None => prop_assert!(next.is_none_or(|at| at > now)),
                    }
                }
                Step::Finish(at, result) => {
                    if at < under_way.len() {
                        let (key, start) = under_way.remove(at);
                        schedule.finish(&key, start, result, now);
                    }
                }
                Step::Pass(by) => now += secs(u64::from(by)),
            }
            let of = |lane| under_way.iter().filter(|(k, _)| lanes[k] == lane).count();
            prop_assert!(of(Lane::Network) <= BOUNDS.network && of(Lane::Exec) <= BOUNDS.exec);
            prop_assert_eq!(schedule.len(), lanes.len());
        }
        // All that are under way end: whoever has a next probe is started for it.
        for (key, start) in under_way {
            schedule.finish(&key, start, None, now);
        }
        let open: HashSet<u8> =
            lanes.keys().copied().filter(|k| schedule.worker(k).is_some_and(|w| w.due().is_some())).collect();
        let mut seen = HashSet::new();
        let late = now + secs(1_000_000);
        while let Some(due) = schedule.start(late) {
            seen.insert(due.key);
            // Far beyond: it is not due again in this loop.
            schedule.finish(&due.key, due.start, None, late);
            schedule.remove(&due.key);
        }
        prop_assert_eq!(seen, open);
    }
}
