use proptest::prelude::*;

use super::*;
use crate::observation::{Layout, Left};
use crate::ranking::tests::pod;
use crate::signal::Filesystem;
use crate::threshold::Amount;

const MIB: u64 = 1 << 20;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn amount(text: &str) -> Amount {
    Amount::parse(text).unwrap().unwrap()
}

fn hard(signal: Signal, least: &str) -> Threshold {
    Threshold { signal, amount: amount(least), grace: None, reclaim: None }
}

fn memory() -> Threshold {
    hard(Signal::MemoryAvailable, "100Mi")
}

fn machine(thresholds: Vec<Threshold>) -> Machine {
    Machine::new(Settings {
        thresholds,
        transition: secs(300),
        max_pod_grace: secs(20),
        local_limits: true,
        stall_window: secs(10),
    })
}

/// A measurement of one signal, in mebibytes of a gibibyte.
fn left(signal: Signal, mebibytes: u64) -> Input {
    let left = Left { available: mebibytes * MIB, capacity: 1024 * MIB };
    Input::Measured(Observation { left: [(signal, left)].into(), layout: Layout::default() })
}

fn memory_left(mebibytes: u64) -> Input {
    left(Signal::MemoryAvailable, mebibytes)
}

fn hogs(names: &[&str]) -> Input {
    Input::Pods(names.iter().map(|name| pod(name, 0, Some(50 * MIB), 0)).collect())
}

/// What is done, without the conditions.
fn told(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Conditions(_) => None,
            Effect::Attempting(_) => Some("attempt".to_owned()),
            Effect::Reclaim { what: Reclaim { containers, images }, .. } => Some(format!(
                "reclaim{}{}",
                if *containers { " containers" } else { "" },
                if *images { " images" } else { "" }
            )),
            Effect::Rank { signal } => Some(format!("rank {signal}")),
            Effect::Evict(eviction) => Some(format!("evict {} {:?}", eviction.uid, eviction.grace)),
            Effect::Hasten { uid, grace } => Some(format!("hasten {uid} {grace:?}")),
        })
        .collect()
}

#[test]
fn one_pod_goes_and_the_next_only_after_a_look_that_began_after_its_end() {
    let mut machine = machine(vec![memory()]);
    assert_eq!(machine.step(memory_left(100), secs(1)), []);
    assert_eq!(told(&machine.step(memory_left(99), secs(2))), ["attempt", "rank memory.available"]);
    assert_eq!(told(&machine.step(hogs(&["a", "b"]), secs(2))), ["evict a 1s"]);
    assert_eq!(told(&machine.step(memory_left(50), secs(3))), [""; 0], "one at a time");
    assert_eq!(told(&machine.step(hogs(&["b"]), secs(3))), [""; 0], "nobody has asked");
    assert_eq!(machine.step(Input::Ended { uid: "b".to_owned() }, secs(3)), []);
    assert_eq!(machine.victim(), Some("a"));
    assert_eq!(machine.step(Input::Ended { uid: "a".to_owned() }, secs(4)), []);
    assert_eq!(told(&machine.step(memory_left(101), secs(4))), [""; 0], "enough is left now");
    assert_eq!(told(&machine.step(memory_left(98), secs(5))), ["attempt", "rank memory.available"]);
}

#[test]
fn a_victim_that_does_not_end_is_waited_for_no_longer_than_half_a_minute() {
    let mut machine = machine(vec![memory()]);
    machine.step(memory_left(99), secs(0));
    machine.step(hogs(&["a", "b"]), secs(0));
    assert_eq!(told(&machine.step(memory_left(99), secs(30))), [""; 0]);
    assert!(machine.next_look(secs(30)) <= secs(31));
    assert_eq!(told(&machine.step(memory_left(99), secs(31))), ["attempt", "rank memory.available"]);
}

#[test]
fn critical_pods_stay_and_nothing_is_tried_again_at_once() {
    let mut machine = machine(vec![memory()]);
    machine.step(memory_left(99), secs(0));
    let mut system = pod("system", 0, Some(500 * MIB), 0);
    system.critical = true;
    assert_eq!(machine.step(Input::Pods(vec![system.clone()]), secs(0)), []);
    assert_eq!(told(&machine.step(memory_left(99), secs(9))), [""; 0]);
    machine.step(memory_left(99), secs(10));
    let effects = machine.step(Input::Pods(vec![system, pod("small", 0, Some(MIB), 0)]), secs(10));
    assert_eq!(told(&effects), ["evict small 1s"]);
}

#[test]
fn row_29_3_a_soft_threshold_waits_for_its_grace_and_gives_pods_theirs() {
    let soft = Threshold { grace: Some(secs(90)), ..memory() };
    let mut machine = machine(vec![soft]);
    assert_eq!(told(&machine.step(memory_left(99), secs(0))), [""; 0]);
    assert!(machine.conditions().contains(&Pressure::Memory), "a condition needs no grace");
    assert_eq!(told(&machine.step(memory_left(101), secs(60))), [""; 0]);
    assert_eq!(told(&machine.step(memory_left(99), secs(70))), [""; 0], "it begins anew");
    assert_eq!(told(&machine.step(memory_left(99), secs(159))), [""; 0]);
    assert!(machine.next_look(secs(159)) <= secs(160));
    assert_eq!(told(&machine.step(memory_left(99), secs(160))), ["attempt", "rank memory.available"]);
    let mut patient = pod("a", 0, Some(MIB), 0);
    patient.grace = secs(500);
    assert_eq!(told(&machine.step(Input::Pods(vec![patient]), secs(160))), ["evict a 20s"]);
    machine.step(Input::Ended { uid: "a".to_owned() }, secs(165));
    machine.step(memory_left(99), secs(165));
    let mut quick = pod("b", 0, Some(MIB), 0);
    quick.grace = secs(5);
    assert_eq!(told(&machine.step(Input::Pods(vec![quick]), secs(165))), ["evict b 5s"]);
}

#[test]
fn row_29_4_a_ripe_threshold_stays_met_until_its_minimum_reclaim_is_there() {
    let mut machine = machine(vec![Threshold { reclaim: Some(amount("50Mi")), ..memory() }]);
    assert_eq!(machine.step(memory_left(149), secs(0)), [], "not met before");
    machine.step(memory_left(99), secs(1));
    machine.step(hogs(&["a"]), secs(1));
    machine.step(Input::Ended { uid: "a".to_owned() }, secs(3));
    assert_eq!(told(&machine.step(memory_left(149), secs(3))), [""; 0], "more may come back yet");
    assert!(machine.next_look(secs(3)) <= secs(4));
    assert_eq!(told(&machine.step(memory_left(149), secs(4))), ["attempt", "rank memory.available"]);
    machine.step(hogs(&["b"]), secs(4));
    machine.step(Input::Ended { uid: "b".to_owned() }, secs(5));
    assert_eq!(told(&machine.step(memory_left(150), secs(5))), [""; 0]);
    assert_eq!(told(&machine.step(memory_left(120), secs(6))), [""; 0], "that was it");
}

#[test]
fn row_29_7_a_condition_lasts_for_the_transition_period() {
    let mut machine = machine(vec![memory(), hard(Signal::PidAvailable, "1Mi")]);
    let memory_only = BTreeSet::from([Pressure::Memory]);
    let effects = machine.step(memory_left(50), secs(10));
    assert!(effects.contains(&Effect::Conditions(memory_only.clone())));
    machine.step(hogs(&["a"]), secs(10));
    machine.step(memory_left(50), secs(20));
    machine.step(Input::Ended { uid: "a".to_owned() }, secs(21));
    assert_eq!(machine.step(memory_left(900), secs(21)), []);
    assert_eq!(machine.step(memory_left(900), secs(319)), []);
    assert_eq!(*machine.conditions(), memory_only);
    assert!(machine.next_look(secs(319)) <= secs(320), "its end is not missed");
    let nothing = Input::Measured(Observation::default());
    assert_eq!(machine.step(nothing, secs(319)), [], "what cannot be measured changes nothing by itself");
    assert_eq!(machine.step(memory_left(900), secs(320)), [Effect::Conditions(BTreeSet::new())]);
}

#[test]
fn row_29_9_the_nodes_own_goes_before_pods_and_only_where_it_helps() {
    let signals = [
        (Signal::NodefsAvailable, Filesystem::Node, Filesystem::Node, "reclaim containers images"),
        (Signal::ImagefsAvailable, Filesystem::Node, Filesystem::Node, "reclaim containers images"),
        (Signal::NodefsAvailable, Filesystem::Image, Filesystem::Image, "rank nodefs.available"),
        (Signal::ImagefsAvailable, Filesystem::Image, Filesystem::Image, "reclaim containers images"),
        (Signal::NodefsAvailable, Filesystem::Image, Filesystem::Node, "reclaim containers"),
        (Signal::ImagefsInodesFree, Filesystem::Image, Filesystem::Node, "reclaim images"),
        (Signal::ContainerfsAvailable, Filesystem::Image, Filesystem::Container, "reclaim containers"),
        (Signal::PidAvailable, Filesystem::Node, Filesystem::Node, "rank pid.available"),
        (Signal::MemoryAvailable, Filesystem::Node, Filesystem::Node, "rank memory.available"),
    ];
    for (signal, images, containers, expected) in signals {
        let mut machine = machine(vec![hard(signal, "100Mi")]);
        let left = [(signal, Left { available: 1, capacity: 1024 * MIB })].into();
        let measured = Input::Measured(Observation { left, layout: Layout { images, containers } });
        assert_eq!(told(&machine.step(measured, secs(0))), ["attempt", expected], "{signal} {images:?}");
    }
}

#[test]
fn a_pod_goes_only_where_reclaiming_was_not_enough() {
    let disk = |mebibytes| left(Signal::NodefsAvailable, mebibytes);
    for (after, expected) in [(101, vec![]), (99, vec!["rank nodefs.available"])] {
        let mut machine = machine(vec![hard(Signal::NodefsAvailable, "100Mi")]);
        machine.step(disk(50), secs(0));
        assert_eq!(told(&machine.step(disk(50), secs(5))), [""; 0], "it goes on");
        assert_eq!(machine.step(Input::Reclaimed, secs(6)), []);
        assert_eq!(told(&machine.step(disk(after), secs(6))), expected);
    }
    let mut machine = machine(vec![hard(Signal::NodefsAvailable, "100Mi")]);
    machine.step(disk(50), secs(0));
    assert_eq!(told(&machine.step(disk(50), secs(120))), ["rank nodefs.available"], "it hangs");
}

#[test]
fn row_29_10_memory_is_seen_to_before_the_disk() {
    let mut machine = machine(vec![memory(), hard(Signal::NodefsAvailable, "100Mi")]);
    let short = Left { available: MIB, capacity: 1024 * MIB };
    let all = [(Signal::MemoryAvailable, short), (Signal::NodefsAvailable, short)].into();
    let effects = machine.step(Input::Measured(Observation { left: all, ..Observation::default() }), secs(0));
    assert_eq!(told(&effects), ["attempt", "rank memory.available"]);
    assert_eq!(*machine.conditions(), BTreeSet::from([Pressure::Memory, Pressure::Disk]));
}

#[test]
fn who_exceeds_a_limit_goes_once_without_a_disruption() {
    let mut machine = machine(Vec::new());
    let mut large = pod("large", 0, Some(0), 0);
    large.size_limits = vec![("d".to_owned(), "1Ki".parse().unwrap())];
    let used = crate::pods::EmptyDir { used: crate::pods::Disk { bytes: 2048, inodes: 1 }, in_memory: false };
    if let Some(usage) = &mut large.usage {
        usage.empty_dirs.insert("d".to_owned(), used);
    }
    let pods = || Input::Local(vec![large.clone(), pod("other", 0, Some(0), 0)]);
    let effects = machine.step(pods(), secs(0));
    let [Effect::Evict(eviction)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((eviction.signal, eviction.disrupts, eviction.grace), ("emptydirfs.limit", false, HARD_GRACE));
    assert_eq!(machine.step(pods(), secs(1)), []);
    assert_eq!(machine.step(Input::Local(Vec::new()), secs(31)), []);
    assert_eq!(machine.step(pods(), secs(40)).len(), 1, "it was not one that is ending");
}

#[test]
fn who_was_put_out_for_a_limit_is_waited_for_before_anybody_goes_for_the_disks_sake() {
    let mut machine = machine(vec![hard(Signal::NodefsAvailable, "100Mi"), memory()]);
    let mut large = pod("large", 0, Some(0), 0);
    large.size_limits = vec![("d".to_owned(), "1Ki".parse().unwrap())];
    let used = crate::pods::EmptyDir { used: crate::pods::Disk { bytes: 2048, inodes: 1 }, in_memory: false };
    if let Some(usage) = &mut large.usage {
        usage.empty_dirs.insert("d".to_owned(), used);
    }
    // Both were begun before: the one who exceeds its limit is found first.
    machine.step(left(Signal::NodefsAvailable, 50), secs(0));
    machine.step(Input::Reclaimed, secs(0));
    machine.step(left(Signal::NodefsAvailable, 50), secs(0));
    assert_eq!(told(&machine.step(Input::Local(vec![large.clone()]), secs(1))), ["evict large 1s"]);
    assert_eq!(told(&machine.step(Input::Pods(vec![large, pod("other", 0, Some(0), 0)]), secs(1))), [""; 0]);
    assert_eq!(machine.leaving(), ["large".to_owned()].into());
    assert_eq!(told(&machine.step(left(Signal::NodefsAvailable, 50), secs(2))), [""; 0]);
    assert_eq!(told(&machine.step(memory_left(50), secs(2))), ["attempt", "rank memory.available"]);
    machine.step(Input::Ended { uid: "large".to_owned() }, secs(3));
    machine.step(Input::Pods(Vec::new()), secs(3));
    let effects = machine.step(left(Signal::NodefsAvailable, 50), secs(5));
    assert_eq!(told(&effects), ["attempt", "reclaim containers images"]);
}

#[test]
fn a_hard_threshold_cuts_the_grace_of_a_soft_victim_short() {
    let amount = amount("200Mi");
    let mut machine = machine(vec![memory(), Threshold { amount, grace: Some(secs(10)), ..memory() }]);
    machine.settings.max_pod_grace = secs(600);
    machine.step(memory_left(150), secs(0));
    assert_eq!(told(&machine.step(memory_left(150), secs(10))), ["attempt", "rank memory.available"]);
    let mut patient = pod("patient", 0, Some(50 * MIB), 0);
    patient.grace = secs(900);
    assert_eq!(told(&machine.step(Input::Pods(vec![patient]), secs(10))), ["evict patient 600s"]);
    assert!(!machine.is_waiting(), "the kernel's word of pressure counts");
    assert_eq!(told(&machine.step(memory_left(120), secs(20))), [""; 0]);
    assert_eq!(told(&machine.step(memory_left(90), secs(21))), ["hasten patient 1s"]);
    assert!(machine.is_waiting());
    assert_eq!(told(&machine.step(memory_left(80), secs(22))), [""; 0], "once");
    assert_eq!(told(&machine.step(memory_left(80), secs(52))), ["attempt", "rank memory.available"]);
}

#[test]
fn after_a_victim_of_stalls_nobody_goes_while_the_average_tells_of_its_time() {
    let mut machine = machine(vec![hard(Signal::MemoryUnstalled, "60%"), memory()]);
    let stalled = || left(Signal::MemoryUnstalled, 200);
    assert_eq!(told(&machine.step(stalled(), secs(0))), ["attempt", "rank memory.unstalled"]);
    machine.step(hogs(&["a"]), secs(0));
    machine.step(Input::Ended { uid: "a".to_owned() }, secs(2));
    assert_eq!(told(&machine.step(stalled(), secs(2))), [""; 0]);
    assert_eq!(told(&machine.step(stalled(), secs(11))), [""; 0]);
    assert_eq!(told(&machine.step(stalled(), secs(12))), ["attempt", "rank memory.unstalled"]);
}

/// A transition period of nothing is one: there is no look after look while a threshold is met.
#[test]
fn a_threshold_that_stays_met_is_looked_at_each_second() {
    for transition in [0, 300] {
        let mut machine = machine(vec![memory()]);
        machine.settings.transition = secs(transition);
        machine.step(memory_left(50), secs(10));
        machine.step(hogs(&["a"]), secs(10));
        assert_eq!(machine.next_look(secs(10)), secs(11));
        machine.step(Input::Ended { uid: "a".to_owned() }, secs(10));
        assert_eq!(machine.step(memory_left(900), secs(10)).is_empty(), transition > 0);
        assert!(machine.next_look(secs(10)) > secs(11));
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Look(u64),
    Answer(u8),
    End,
}

fn happening() -> impl Strategy<Value = (Happening, u64)> {
    let what = prop_oneof![
        (0..220_u64).prop_map(Happening::Look),
        (0..6_u8).prop_map(Happening::Answer),
        Just(Happening::End),
    ];
    (what, 0..40_u64)
}

proptest! {
    /// However looks, answers and ends follow one another: a pod goes only while too little is left, never a second one before the first has
    /// ended or has had its time, and never a critical one.
    #[test]
    fn never_two_at_a_time_and_never_without_need(
        happenings in proptest::collection::vec(happening(), 1..80),
        reclaim in proptest::option::of(1..60_u64),
    ) {
        let reclaim_text = reclaim.map(|mebibytes| amount(&format!("{mebibytes}Mi")));
        let mut machine = machine(vec![Threshold { reclaim: reclaim_text, ..memory() }]);
        let (mut now, mut last, mut victim) = (secs(0), u64::MAX, None::<(String, Duration)>);
        for (number, (happening, wait)) in happenings.into_iter().enumerate() {
            now += secs(wait);
            let effects = match happening {
                Happening::Look(mebibytes) => {
                    last = mebibytes;
                    machine.step(memory_left(mebibytes), now)
                }
                Happening::Answer(count) => {
                    let pods = (0..count).map(|n| {
                        let mut pod = pod(&format!("{number}-{n}"), 0, Some(u64::from(n) * MIB), 0);
                        pod.critical = n % 3 == 2;
                        pod
                    });
                    machine.step(Input::Pods(pods.collect()), now)
                }
                Happening::End => match victim.take() {
                    Some((uid, _)) => machine.step(Input::Ended { uid }, now),
                    None => Vec::new(),
                },
            };
            for effect in &effects {
                let Effect::Evict(eviction) = effect else { continue };
                prop_assert!(last < 100 + reclaim.unwrap_or(0), "{last} are left");
                prop_assert!(victim.as_ref().is_none_or(|(_, at)| now >= *at + HARD_GRACE + PATIENCE));
                let number: u32 = eviction.uid.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap();
                prop_assert!(number % 3 != 2, "a critical one");
                victim = Some((eviction.uid.clone(), now));
            }
            prop_assert!(machine.next_look(now) >= now);
            prop_assert!(machine.next_look(now) <= now + crate::pace::SLOWEST);
        }
    }
}
