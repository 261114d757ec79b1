use super::*;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 10 * MIB;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_log_that_does_not_grow_is_only_watched() {
    let mut pace = Pace::new(LIMIT);
    assert!(matches!(pace.seen(millis(0), 1000), Next::Look(_)));
    assert_eq!(pace.seen(millis(200), 1000), Next::Watch);
    assert_eq!(Pace::new(LIMIT).seen(millis(0), 0), Next::Watch);
}

#[test]
fn a_full_log_is_rotated_at_the_first_look() {
    assert_eq!(Pace::new(LIMIT).seen(millis(0), LIMIT), Next::Rotate);
    let mut pace = Pace::new(LIMIT);
    let _ = pace.seen(millis(0), 5);
    assert_eq!(pace.seen(millis(10), LIMIT + 5), Next::Rotate);
    // It stays full: the rotation failed.
    assert_eq!(pace.seen(millis(20), LIMIT + 5), Next::Rotate);
}

#[test]
fn a_fast_log_is_looked_at_when_it_should_be_full() {
    let mut pace = Pace::new(LIMIT);
    let _ = pace.seen(millis(0), 0);
    // 50 MiB a second, a fifth full: the rest takes 160 ms, and a burst could come before.
    let Next::Look(next) = pace.seen(millis(40), 2 * MIB) else { panic!("it grows") };
    assert!(next > millis(80) && next <= millis(160), "{next:?}");
    let Next::Look(next) = pace.seen(millis(190), 9 * MIB) else { panic!("it grows") };
    assert!(next > millis(15) && next < millis(25), "{next:?}");
}

#[test]
fn no_look_is_nearer_or_further_than_it_may_be() {
    bolero::check!().with_type::<(u32, Vec<(u16, u32)>)>().for_each(|(limit, looks)| {
        let mut pace = Pace::new(u64::from(*limit));
        let mut now = Duration::ZERO;
        for (wait, size) in looks {
            now += millis(u64::from(*wait));
            match pace.seen(now, u64::from(*size)) {
                Next::Rotate => {
                    assert!(size >= limit);
                    pace.failed();
                }
                Next::Look(next) => {
                    assert!(size < limit && next >= SHORTEST && next <= LONGEST, "{next:?}");
                }
                Next::Watch => assert!(size < limit),
            }
        }
    });
}

#[test]
fn a_rotation_that_takes_long_begins_before_the_log_is_full_and_at_half_of_it_at_the_earliest() {
    let mut pace = Pace::new(LIMIT);
    let rate = 50 * MIB / 1000;
    let (mut now, mut size, mut found) = (0, 0, Vec::new());
    let mut next = millis(10);
    // A slow runtime: 60 ms from the look to the end of the rotation, at 50 MiB a second.
    while found.len() < 4 {
        now += next.as_millis() as u64;
        size += rate * next.as_millis() as u64;
        next = match pace.seen(millis(now), size) {
            Next::Rotate => {
                found.push(size + 60 * rate);
                now += 60;
                size = 0;
                pace.rotated(millis(now))
            }
            Next::Look(after) => after + millis(1),
            Next::Watch => panic!("it grows"),
        };
    }
    assert!(found[0] > LIMIT + 2 * MIB, "{found:?}");
    assert!(found[1..].iter().all(|size| *size < LIMIT + MIB && *size > LIMIT * 8 / 10), "{found:?}");
    // So slow that half of it would not be enough.
    let _ = pace.seen(millis(now + 100), 5 * MIB);
    assert!(pace.full_at() >= LIMIT as f64 / 2.0);
}

#[test]
fn a_slow_log_is_not_rotated_before_it_is_full() {
    let mut pace = Pace::new(LIMIT);
    let _ = pace.seen(millis(0), LIMIT - 100);
    assert!(matches!(pace.seen(millis(20), LIMIT), Next::Rotate));
    let _ = pace.rotated(millis(30));
    let _ = pace.seen(millis(60), 1000);
    assert!(pace.full_at() > LIMIT as f64 * 0.999);
}

/// A container that writes as `rates` say, in bytes a millisecond; each holds for a tenth of a second. The largest size that a look
/// finds after the first `settle` of them, and how many looks there were.
fn largest(limit: u64, rates: &[u32], settle: u64) -> (u64, u32) {
    let mut pace = Pace::new(limit);
    let (mut size, mut largest, mut looks) = (0_u64, 0, 0);
    let mut due = match pace.seen(Duration::ZERO, 0) {
        Next::Look(after) => Some(after),
        _ => None,
    };
    for tick in 0..rates.len() as u64 * 100 {
        let now = millis(tick + 1);
        let written = u64::from(rates[(tick / 100) as usize]);
        size += written;
        if due.is_none() && written > 0 {
            due = Some(now + pace.written(now));
        }
        if due.is_some_and(|due| due <= now) {
            looks += 1;
            if tick >= settle * 100 {
                largest = largest.max(size);
            }
            due = match pace.seen(now, size) {
                Next::Rotate => {
                    size = 0;
                    Some(now + pace.rotated(now))
                }
                Next::Look(after) => Some(now + after),
                Next::Watch => None,
            };
        }
    }
    (largest, looks)
}

#[test]
fn up_to_the_ceiling_no_log_is_found_much_larger_than_its_limit_however_its_pace_changes() {
    bolero::check!().with_type::<Vec<(u8, u8)>>().for_each(|seeds| {
        // Rates of all magnitudes up to 100 MB a second.
        let rates: Vec<u32> = seeds.iter().take(60).map(|(a, b)| (u32::from(*a) * 392) >> (b % 20)).collect();
        let (largest, _) = largest(LIMIT, &rates, 0);
        // A tenth, and the two milliseconds of this clock before the watch tells and until the look.
        assert!(largest as f64 <= LIMIT as f64 * 1.13, "{largest}: {rates:?}");
    });
}

#[test]
fn a_runtime_that_stalls_and_catches_up_leaves_no_log_much_larger_than_its_limit() {
    // 160 MB a second or nothing, as a runtime does that shares few processors: stalls of 100 to 300 ms.
    let rates: Vec<u32> =
        (0..100).map(|tenth| if tenth % 7 < 4 && tenth % 2 == 0 { 160_000 } else { 0 }).collect();
    let (size, _) = largest(LIMIT, &rates, 2);
    assert!(size as f64 <= LIMIT as f64 * 1.2, "{size}");
}

#[test]
fn what_was_fast_once_is_looked_at_as_seldom_as_others_when_it_has_been_slow_for_long() {
    let fast_once = |fast: u32| {
        let rates: Vec<u32> = std::iter::once(fast).chain(std::iter::repeat_n(10, 300)).collect();
        largest(LIMIT, &rates, 0).1
    };
    let (was_fast, never) = (fast_once(160_000), fast_once(10));
    assert!(was_fast < never + 100, "{was_fast}, {never}");
}

#[test]
fn a_steady_writer_is_rotated_close_to_the_limit_with_few_looks() {
    let (size, looks) = largest(LIMIT, &[100_000; 100], 2);
    assert!(size as f64 <= LIMIT as f64 * 1.1, "{size}");
    // 95 rotations in ten seconds.
    assert!(looks < 500, "{looks}");
    // Beyond the ceiling it is known after the first rotation.
    let (size, _) = largest(10 * LIMIT, &[400_000; 100], 5);
    assert!(size as f64 <= 10.0 * LIMIT as f64 * 1.05, "{size}");
}
