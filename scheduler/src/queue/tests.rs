use proptest::prelude::*;

use super::*;

fn uid(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn queue(names: &[&str]) -> Queue {
    let mut queue = Queue::default();
    names.iter().for_each(|name| queue.add(&uid(name), 0, 0));
    queue
}

#[test]
fn higher_priority_goes_first_then_the_older_then_the_first_to_come() {
    let mut queue = Queue::default();
    for (name, priority, created) in [("late", 0, 9), ("b", 0, 5), ("c", 0, 5), ("old", 0, 1), ("vip", 7, 99)]
    {
        queue.add(&uid(name), priority, created);
    }
    let order: Vec<Arc<str>> = std::iter::from_fn(|| queue.pop(secs(0))).collect();
    assert_eq!(order.iter().map(|u| &**u).collect::<Vec<_>>(), ["vip", "old", "b", "c", "late"]);
}

#[test]
fn the_back_off_doubles_from_one_second_to_ten() {
    let mut queue = queue(&["a"]);
    let mut now = secs(0);
    for wait in [1, 2, 4, 8, 10, 10] {
        queue.pop(now).expect("due");
        queue.back_off(&uid("a"), now);
        assert_eq!(queue.due(), Some(now + secs(wait)));
        now += secs(wait);
        assert_eq!(queue.pop(now - Duration::from_millis(1)), None);
    }
}

#[test]
fn a_parked_pod_is_tried_when_the_cluster_changes_and_its_back_off_is_over() {
    let mut queue = queue(&["a"]);
    queue.pop(secs(0)).expect("new");
    queue.park(&uid("a"), secs(0));
    assert_eq!(queue.due(), Some(FLUSH));
    queue.move_all(Duration::from_millis(400));
    assert_eq!(queue.due(), Some(secs(1)));
    queue.pop(secs(1)).expect("back-off is over");
    queue.park(&uid("a"), secs(1));
    queue.move_all(secs(60));
    assert!(queue.has_active());
}

#[test]
fn a_change_during_the_try_is_not_missed() {
    let mut queue = queue(&["a"]);
    queue.pop(secs(0)).expect("new");
    queue.move_all(secs(0));
    queue.park(&uid("a"), secs(0));
    assert_eq!(queue.due(), Some(secs(1)));
}

#[test]
fn a_parked_pod_is_flushed_even_if_nothing_was_seen_to_change() {
    let mut queue = queue(&["a"]);
    queue.pop(secs(0)).expect("new");
    queue.park(&uid("a"), secs(0));
    assert_eq!(queue.pop(FLUSH), Some(uid("a")));
}

#[test]
fn a_changed_pod_is_tried_again_in_whatever_state_it_was() {
    let mut queue = queue(&["a", "b"]);
    queue.touch(&uid("b"), 5, secs(0));
    assert_eq!(queue.pop(secs(0)), Some(uid("b")), "its new priority counts");
    queue.touch(&uid("b"), 5, secs(0));
    queue.park(&uid("b"), secs(0));
    assert_eq!(queue.due(), Some(secs(1)));
}

#[derive(Clone, Debug)]
enum Action {
    Add(u8),
    Remove(u8),
    Pop,
    Park(u8),
    BackOff(u8),
    MoveAll,
    Touch(u8, i32),
}

fn actions() -> impl Strategy<Value = Vec<(Action, u64)>> {
    let pod = 0_u8..5;
    let action = prop_oneof![
        pod.clone().prop_map(Action::Add),
        pod.clone().prop_map(Action::Remove),
        Just(Action::Pop),
        pod.clone().prop_map(Action::Park),
        pod.clone().prop_map(Action::BackOff),
        Just(Action::MoveAll),
        (pod, -2..3).prop_map(|(pod, priority)| Action::Touch(pod, priority)),
    ];
    prop::collection::vec((action, 0_u64..4), 0..120)
}

proptest! {
    /// Every pod is in the index of its state and in no other, and none is ever lost.
    #[test]
    fn each_pod_is_in_exactly_one_place(actions in actions()) {
        let mut queue = Queue::default();
        let mut now = secs(0);
        let name = |pod: u8| uid(&pod.to_string());
        for (action, passed) in actions {
            now += secs(passed);
            match action {
                Action::Add(pod) => queue.add(&name(pod), 0, i64::from(pod)),
                Action::Remove(pod) => queue.remove(&name(pod)),
                Action::Pop => drop(queue.pop(now)),
                Action::Park(pod) => queue.park(&name(pod), now),
                Action::BackOff(pod) => queue.back_off(&name(pod), now),
                Action::MoveAll => queue.move_all(now),
                Action::Touch(pod, priority) => queue.touch(&name(pod), priority, now),
            }
            for (uid, entry) in &queue.entries {
                let active = queue.active.contains(&(entry.order, uid.clone()));
                let timed = queue.timed.iter().filter(|(_, other)| other == uid).count();
                let expected = match entry.state {
                    State::Active => (true, 0),
                    State::Trying { .. } => (false, 0),
                    State::Backoff { .. } | State::Parked { .. } => (false, 1),
                };
                prop_assert_eq!((active, timed), expected);
            }
            prop_assert!(queue.active.iter().all(|(_, uid)| queue.entries.contains_key(uid)));
            prop_assert!(queue.timed.iter().all(|(_, uid)| queue.entries.contains_key(uid)));
        }
    }
}
