use proptest::prelude::*;

use super::*;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn timing(success: u32, failure: u32) -> Timing {
    Timing { success_threshold: success, failure_threshold: failure, ..Timing::of(&Probe::default()) }
}

#[test]
fn what_is_missing_has_the_apis_default() {
    let t = Timing::of(&Probe { period_seconds: Some(0), failure_threshold: Some(-1), ..Probe::default() });
    assert_eq!((t.initial_delay, t.period, t.timeout), (secs(0), secs(10), secs(1)));
    assert_eq!((t.success_threshold, t.failure_threshold), (1, 3));
}

#[test]
fn the_first_probe_is_due_after_the_initial_delay_and_not_up_to_a_period_later() {
    let t = Timing { initial_delay: secs(5), ..timing(1, 3) };
    assert_eq!(Worker::new(Purpose::Readiness, t, secs(100), secs(101)).due(), Some(secs(105)));
    assert_eq!(Worker::new(Purpose::Readiness, t, secs(100), secs(200)).due(), Some(secs(200)));
}

#[test]
fn three_failures_in_a_row_make_a_liveness_failure_and_end_the_probing() {
    let mut w = Worker::new(Purpose::Liveness, timing(1, 3), secs(0), secs(0));
    for success in [false, false, true, false, false] {
        assert!(!w.result(success, w.due().expect("due")));
    }
    assert!(w.result(false, w.due().expect("due")));
    assert_eq!(w.verdict(), Verdict::Failure);
    assert_eq!(w.due(), None);
    assert!(!w.result(true, secs(1000)));
}

#[test]
fn readiness_goes_both_ways() {
    let mut w = Worker::new(Purpose::Readiness, timing(2, 1), secs(0), secs(0));
    assert_eq!(w.verdict(), Verdict::Failure);
    assert!(!w.result(true, secs(0)));
    assert!(w.result(true, secs(10)));
    assert!(w.result(false, secs(20)));
    assert_eq!(w.verdict(), Verdict::Failure);
}

#[test]
fn a_startup_success_is_final() {
    let mut w = Worker::new(Purpose::Startup, timing(1, 3), secs(0), secs(0));
    assert_eq!(w.verdict(), Verdict::Unknown);
    assert!(w.result(true, secs(0)));
    assert_eq!(w.due(), None);
}

proptest! {
    #[test]
    fn a_late_probe_does_not_shift_the_beat(late_millis in 0_u64..9_999, rounds in 1_u64..50) {
        let mut w = Worker::new(Purpose::Readiness, timing(1, 3), secs(0), secs(0));
        for round in 0..rounds {
            prop_assert_eq!(w.due(), Some(secs(10 * round)));
            w.result(true, secs(10 * round) + Duration::from_millis(late_millis));
        }
    }

    #[test]
    fn the_verdict_changes_only_after_a_full_row(results in prop::collection::vec(any::<bool>(), 0..60)) {
        let mut w = Worker::new(Purpose::Readiness, timing(2, 3), secs(0), secs(0));
        let mut row = (None, 0_u32);
        for success in results {
            row = if row.0 == Some(success) { (row.0, row.1 + 1) } else { (Some(success), 1) };
            let before = w.verdict();
            w.result(success, w.due().expect("readiness never ends"));
            let expected = match (success, row.1) {
                (true, 2..) => Verdict::Success,
                (false, 3..) => Verdict::Failure,
                _ => before,
            };
            prop_assert_eq!(w.verdict(), expected);
        }
    }
}
