use super::*;

fn observer(thresholds: &[(&str, &str)]) -> Observer {
    let eviction_hard = thresholds.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    Observer::new(&Config { eviction_hard, ..Config::default() }, Path::new("/"))
}

fn left(available: u64) -> Left {
    Left { available, capacity: 1_000 }
}

#[test]
fn a_threshold_is_an_amount_or_a_part_of_the_capacity() {
    assert_eq!(threshold_bytes("100Mi", 1), 100 << 20);
    assert_eq!(threshold_bytes("10%", 264_212_084 * 1024), 27_055_317_804);
    assert_eq!((threshold_bytes("0%", 1_000), threshold_bytes("100%", 1_000)), (0, 0));
}

#[test]
fn a_crossed_threshold_is_pressure_until_it_was_clear_for_the_whole_period() {
    let mut observer =
        observer(&[("memory.available", "100"), ("imagefs.inodesFree", "5%"), ("pid.available", "1%")]);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let memory = |available| BTreeMap::from([("memory.available", left(available))]);
    assert_eq!(observer.judge(&memory(100), at(0)), Pressures::default());
    assert!(observer.judge(&memory(99), at(10)).memory);
    assert!(observer.judge(&memory(900), at(20)).memory);
    assert!(observer.judge(&BTreeMap::new(), at(30)).memory, "a failed measurement changes nothing");
    assert!(observer.judge(&memory(900), at(309)).memory);
    assert!(!observer.judge(&memory(900), at(310)).memory);
    let disk = BTreeMap::from([("imagefs.inodesFree", left(10)), ("pid.available", left(10))]);
    assert_eq!(observer.judge(&disk, at(320)), Pressures { memory: false, disk: true, pid: false });
    assert!(observer.judge(&BTreeMap::from([("pid.available", left(8))]), at(330)).pid);
}

#[test]
fn this_machine_can_be_measured() {
    let mut observer =
        observer(&[("memory.available", "1"), ("nodefs.available", "1"), ("pid.available", "1")]);
    assert_eq!(observer.observe(Some(Path::new("/nonexistent")), Instant::now()), Pressures::default());
    assert!(filesystem_bytes(Path::new("/")).unwrap() > 0);
    assert!(pids().unwrap().capacity > 0);
}
