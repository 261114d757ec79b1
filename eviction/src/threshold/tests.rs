use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn hard(pairs: &[(&str, &str)]) -> Result<Vec<Threshold>, ThresholdError> {
    thresholds(&Given { hard: map(pairs), ..Given::default() })
}

fn names(thresholds: &[Threshold]) -> Vec<&'static str> {
    thresholds.iter().map(|t| t.signal.name()).collect()
}

#[test]
fn memory_comes_first_and_what_is_switched_off_is_not_there() {
    let all = hard(&[
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "0%"),
        ("pid.available", "100%"),
        ("imagefs.available", "15%"),
        ("memory.available", "100Mi"),
    ]);
    let expected = ["memory.available", "nodefs.available", "imagefs.available", "containerfs.available"];
    assert_eq!(names(&all.unwrap()), expected);
}

#[test]
fn what_all_pods_may_have_gets_the_hard_threshold_of_memory_only() {
    let given = Given {
        hard: map(&[("memory.available", "100Mi")]),
        soft: map(&[("memory.available", "200Mi"), ("nodefs.available", "1Gi")]),
        soft_grace: [("memory.available", 90), ("nodefs.available", 0)]
            .map(|(name, seconds)| (name.to_owned(), Duration::from_secs(seconds)))
            .into(),
        minimum_reclaim: map(&[("memory.available", "10Mi")]),
        pods_are_limited: true,
        most_stalled: Some(40.0),
    };
    let all = thresholds(&given).unwrap();
    let expected = [
        "memory.available",
        "memory.available",
        "allocatableMemory.available",
        "memory.unstalled",
        "nodefs.available",
    ];
    assert_eq!(names(&all), expected);
    assert_eq!(all[0].grace, None, "the hard one first");
    assert_eq!(all[1].grace, Some(Duration::from_secs(90)));
    assert_eq!(all[4].grace, None, "soft without grace is hard");
    assert_eq!(all[2].demand(1 << 40, true), 110 << 20);
    assert!(all[3].is_met(Left { available: 5_999, capacity: 10_000 }, false));
    assert!(!all[3].is_met(Left { available: 6_000, capacity: 10_000 }, false));
    let without = Given { soft_grace: BTreeMap::new(), ..given };
    assert_eq!(thresholds(&without), Err(ThresholdError::NoGrace(Signal::MemoryAvailable)));
}

#[test]
fn what_cannot_be_a_threshold_is_named() {
    for (key, value, says) in [
        ("memory.free", "1Gi", "unknown eviction signal \"memory.free\""),
        ("memory.available", "x", "memory.available"),
        ("memory.available", "-1Gi", "less than nothing"),
        ("nodefs.available", "110%", "from 0% to 100%"),
        ("containerfs.available", "10%", "cannot be set"),
        ("allocatableMemory.available", "10%", "cannot be set"),
    ] {
        let error = hard(&[(key, value)]).expect_err(key);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_threshold_is_an_amount_or_a_part_of_the_capacity() {
    let of = |text: &str, capacity| Amount::parse(text).unwrap().map(|amount| amount.of(capacity));
    assert_eq!(of("100Mi", 1), Some(100 << 20));
    // Of a real kubelet: 10 % of the disk of kubelet-fixtures/node.json.
    assert_eq!(of("10%", 264_212_084 * 1024), Some(27_055_317_804));
    assert_eq!((of("0%", 1_000), of("100%", 1_000), of("0", 1_000)), (None, None, None));
}

#[test]
fn no_text_makes_the_parser_panic() {
    bolero::check!().with_type::<(String, String)>().for_each(|(key, value): &(String, String)| {
        let _ = hard(&[(key, value)]);
        if let Ok(Some(amount)) = Amount::parse(value) {
            let _ = (amount.of(0), amount.of(u64::MAX));
        }
    });
}
