use std::time::Duration;

use jiff::Timestamp;

use super::*;

fn at(millis: u64) -> Now {
    Now {
        boot: Duration::from_millis(millis),
        wall: Timestamp::from_millisecond(1_700_000_000_000).expect("a time"),
    }
}

fn admit(uid: &str, adopt: bool) -> NodeInput {
    let pod = serde_json::json!({
        "metadata": {"namespace": "ns", "name": "web", "uid": uid}, "spec": {"containers": []}});
    let pod = Arc::new(serde_json::from_value(pod).expect("a pod"));
    NodeInput::Admit { uid: uid.to_owned(), pod, adopt }
}

/// A node that takes a hundred pods.
fn node() -> Node {
    let allocatable = [("pods".to_owned(), podspec::Quantity::from_units(100))].into();
    Node::new(
        PullLimits::default(),
        Vec::new(),
        Arc::new(Facts { seen: true, allocatable, ..Facts::default() }),
    )
}

fn ask(uid: &str, op: u64, class: SlotClass) -> NodeInput {
    NodeInput::AskSlot { uid: uid.to_owned(), op: OpId(op), class }
}

fn granted(effects: &[NodeEffect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|e| match e {
            NodeEffect::Slot { uid, .. } | NodeEffect::Admitted { uid } => Some(uid.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_second_uid_of_the_same_name_waits_until_the_first_has_ended() {
    let mut node = node();
    assert_eq!(granted(&node.step(admit("a", false), at(0))), ["a"]);
    assert!(node.step(admit("b", false), at(1)).is_empty());
    assert!(node.step(admit("c", false), at(2)).is_empty());
    assert_eq!(granted(&node.step(NodeInput::Ended { uid: "a".into() }, at(3))), ["b"]);
    assert_eq!(granted(&node.step(NodeInput::Ended { uid: "b".into() }, at(4))), ["c"]);
}

#[test]
fn containers_of_begun_pods_start_before_new_sandboxes() {
    let mut node = node();
    let mut first = node.step(ask("a", 1, SlotClass::Sandbox), at(0));
    first.extend(node.step(ask("b", 1, SlotClass::Sandbox), at(0)));
    assert_eq!(granted(&first), ["a", "b"]);
    assert!(node.step(ask("c", 1, SlotClass::Sandbox), at(1)).is_empty());
    assert!(node.step(ask("a", 2, SlotClass::Container), at(2)).is_empty());
    let next = node.step(NodeInput::ReturnSlot { uid: "a".into(), op: OpId(1) }, at(100));
    assert_eq!(next, [NodeEffect::Slot { uid: "a".into(), op: OpId(2) }]);
}

#[test]
fn a_hanging_start_gives_its_slot_back() {
    let mut node = node();
    for uid in ["a", "b"] {
        node.step(ask(uid, 1, SlotClass::Sandbox), at(0));
    }
    assert!(node.step(ask("c", 1, SlotClass::Sandbox), at(10)).is_empty());
    assert_eq!(node.next_wake(), Some(Duration::from_millis(500)));
    assert_eq!(granted(&node.step(NodeInput::Tick, at(500))), ["c"]);
}

#[test]
fn many_starts_that_hang_hold_the_others_up_for_a_few_medians_only() {
    let mut node = node();
    // Starts take 50 ms.
    for i in 0..40_u64 {
        node.step(ask("known", i, SlotClass::Sandbox), at(i * 50));
        node.step(NodeInput::ReturnSlot { uid: "known".into(), op: OpId(i) }, at(i * 50 + 50));
    }
    let begun = 2000;
    for i in 0..20 {
        node.step(ask(&format!("hangs-{i}"), 1, SlotClass::Sandbox), at(begun));
    }
    let mut effects = node.step(ask("works", 1, SlotClass::Sandbox), at(begun));
    let mut now = begun;
    while !granted(&effects).contains(&"works".to_owned()) {
        now = u64::try_from(node.next_wake().expect("something is overdue").as_millis()).expect("soon");
        effects = node.step(NodeInput::Tick, at(now));
    }
    assert!(now - begun <= 1000, "{} ms", now - begun);
}

#[test]
fn the_limit_rises_while_more_starts_bring_more_throughput() {
    let mut node = node();
    // A runtime without any contention: each start takes 100 ms however many there are.
    let mut clock = 0;
    let mut running: Vec<(u64, String)> = Vec::new();
    let take = |effects: Vec<NodeEffect>, clock: u64, running: &mut Vec<(u64, String)>| {
        running.extend(granted(&effects).into_iter().map(|uid| (clock + 100, uid)));
    };
    for i in 0..400 {
        let effects = node.step(ask(&format!("p{i}"), 1, SlotClass::Sandbox), at(clock));
        take(effects, clock, &mut running);
    }
    while !running.is_empty() {
        running.sort();
        let (due, uid) = running.remove(0);
        clock = due;
        let effects = node.step(NodeInput::ReturnSlot { uid, op: OpId(1) }, at(clock));
        take(effects, clock, &mut running);
    }
    assert!(node.starts_in_flight().1 >= 6, "the limit is {}", node.starts_in_flight().1);
}
