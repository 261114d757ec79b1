use k8s_openapi::api::core::v1::Probe;
use proptest::prelude::*;

use super::*;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn timing(success: u32, failure: u32) -> Timing {
    let usual = Timing::of(&Probe::default(), Purpose::Readiness);
    Timing { success_threshold: success, failure_threshold: failure, ..usual }
}

fn worker(purpose: Purpose, timing: Timing) -> Worker {
    Worker::new(purpose, timing, secs(0), secs(0), secs(0))
}

/// What is told of each result when it comes at its time.
fn told(worker: &mut Worker, results: &[Option<bool>]) -> Vec<Option<bool>> {
    results.iter().map(|result| worker.due().and_then(|due| worker.result(*result, due))).collect()
}

const OK: Option<bool> = Some(true);
const BAD: Option<bool> = Some(false);
const NONE: Option<bool> = None;

#[test]
fn row_19_3_each_purpose_begins_with_its_own_verdict() {
    let verdicts = [
        (Purpose::Readiness, Verdict::Failure),
        (Purpose::Liveness, Verdict::Success),
        (Purpose::Startup, Verdict::Unknown),
    ];
    for (purpose, verdict) in verdicts {
        assert_eq!(worker(purpose, timing(1, 3)).verdict(), verdict);
    }
}

#[test]
fn row_19_2_and_19_4_the_first_probe_is_due_after_the_initial_delay_and_not_up_to_a_period_later() {
    let timing = Timing { initial_delay: secs(5), ..timing(1, 3) };
    let due = |now: u64, spread: u64| {
        Worker::new(Purpose::Readiness, timing, secs(100), secs(now), secs(spread)).due()
    };
    // (now, spread, first): the spread is for containers whose time had come before they were taken up.
    for (now, spread, first) in [(100, 0, 105), (101, 1, 105), (105, 1, 105), (200, 0, 200), (200, 1, 201)] {
        assert_eq!(due(now, spread), Some(secs(first)), "at {now} with {spread}");
    }
}

#[test]
fn row_19_6_failures_in_a_row_make_a_liveness_failure_and_end_the_probing() {
    let mut w = worker(Purpose::Liveness, timing(1, 3));
    assert_eq!(told(&mut w, &[BAD, BAD, OK, BAD, BAD]), [NONE; 5]);
    assert_eq!(w.verdict(), Verdict::Success);
    assert_eq!(told(&mut w, &[BAD]), [BAD]);
    assert_eq!((w.verdict(), w.due()), (Verdict::Failure, None));
    assert_eq!(w.result(OK, secs(1000)), NONE, "what comes late counts no more");
}

#[test]
fn row_19_6_any_startup_decision_is_final() {
    for (results, said) in [(vec![OK], OK), (vec![BAD, BAD, BAD], BAD)] {
        let mut w = worker(Purpose::Startup, timing(1, 3));
        assert_eq!(told(&mut w, &results).last(), Some(&said));
        assert_eq!(w.due(), None);
    }
}

#[test]
fn row_19_7_an_attempt_without_a_result_neither_counts_nor_breaks_a_row() {
    let mut w = worker(Purpose::Liveness, timing(1, 3));
    assert_eq!(told(&mut w, &[BAD, NONE, BAD, NONE, NONE, BAD]), [NONE, NONE, NONE, NONE, NONE, BAD]);
    let mut w = worker(Purpose::Readiness, timing(1, 1));
    assert_eq!(told(&mut w, &[NONE, NONE]), [NONE; 2]);
    assert_eq!(w.due(), Some(secs(20)));
}

#[test]
fn readiness_goes_both_ways() {
    let mut w = worker(Purpose::Readiness, timing(2, 1));
    assert_eq!(told(&mut w, &[OK, OK, OK, BAD, BAD, OK, OK]), [NONE, OK, NONE, BAD, NONE, NONE, OK]);
}

#[test]
fn the_first_verdict_about_readiness_is_told_whatever_was_believed() {
    // After a restart of the daemon the container may be believed ready; see row 19.15.
    let mut w = worker(Purpose::Readiness, timing(1, 3));
    assert_eq!(told(&mut w, &[BAD, BAD, BAD, BAD]), [NONE, NONE, BAD, NONE]);
}

#[test]
fn a_probe_that_took_longer_than_its_period_is_followed_at_once_and_then_by_the_beat() {
    let mut w = worker(Purpose::Readiness, timing(1, 3));
    assert_eq!(w.result(OK, secs(12)), OK);
    assert_eq!(w.due(), Some(secs(10)), "its time has passed");
    assert_eq!(w.result(OK, secs(13)), NONE);
    assert_eq!(w.due(), Some(secs(20)));
    // After a long sleep of the machine what was missed is not made up for.
    assert_eq!(w.result(OK, secs(12_345)), NONE);
    assert_eq!(w.due(), Some(secs(12_340)));
}

proptest! {
    #[test]
    fn a_late_probe_does_not_shift_the_beat(late_millis in 0_u64..9_999, rounds in 1_u64..50) {
        let mut w = worker(Purpose::Readiness, timing(1, 3));
        for round in 0..rounds {
            prop_assert_eq!(w.due(), Some(secs(10 * round)));
            w.result(OK, secs(10 * round) + Duration::from_millis(late_millis));
        }
    }

    #[test]
    fn the_next_probe_is_a_whole_number_of_periods_away_and_less_than_one_behind(
        period_millis in 1_u64..100_000,
        took_millis in 0_u64..10_000_000,
    ) {
        let period = Duration::from_millis(period_millis);
        let mut w = worker(Purpose::Readiness, Timing { period, ..timing(1, 3) });
        let now = Duration::from_millis(took_millis);
        w.result(OK, now);
        let next = w.due().expect("readiness never ends");
        prop_assert!(next >= period);
        prop_assert_eq!(next.as_nanos() % period.as_nanos(), 0);
        prop_assert!(now < next + period);
        prop_assert!(next <= now.max(period));
    }

    #[test]
    fn the_verdict_changes_only_after_a_full_row(results in prop::collection::vec(any::<Option<bool>>(), 0..60)) {
        let mut w = worker(Purpose::Readiness, timing(2, 3));
        let mut row = (None, 0_u32);
        for result in results {
            if let Some(success) = result {
                row = if row.0 == Some(success) { (row.0, row.1 + 1) } else { (Some(success), 1) };
            }
            let before = w.verdict();
            w.result(result, w.due().expect("readiness never ends"));
            let expected = match (result, row.1) {
                (Some(true), 2..) => Verdict::Success,
                (Some(false), 3..) => Verdict::Failure,
                _ => before,
            };
            prop_assert_eq!(w.verdict(), expected);
        }
    }

    #[test]
    fn no_figures_of_a_probe_make_time_overflow(
        delay in 0_i32.., period in any::<i32>(), started in any::<u64>(), now in any::<u64>(),
    ) {
        let probe = Probe { initial_delay_seconds: Some(delay), period_seconds: Some(period), ..Probe::default() };
        let (started, now) = (Duration::from_nanos(started), Duration::from_nanos(now));
        let mut w = Worker::new(Purpose::Readiness, Timing::of(&probe, Purpose::Readiness), started, now, now);
        for _ in 0..3 {
            w.result(BAD, now);
        }
        prop_assert_eq!(w.verdict(), Verdict::Failure);
    }
}
