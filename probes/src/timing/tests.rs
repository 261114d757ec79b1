use super::*;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn row_19_1_what_is_missing_or_below_its_bound_has_the_apis_default() {
    let none = Timing::of(&Probe::default(), Purpose::Readiness);
    let below = Probe {
        initial_delay_seconds: Some(-3),
        period_seconds: Some(0),
        timeout_seconds: Some(0),
        success_threshold: Some(0),
        failure_threshold: Some(-1),
        ..Probe::default()
    };
    for timing in [none, Timing::of(&below, Purpose::Readiness)] {
        assert_eq!((timing.initial_delay, timing.period, timing.timeout), (secs(0), secs(10), secs(1)));
        assert_eq!((timing.success_threshold, timing.failure_threshold), (1, 3));
    }
}

#[test]
fn row_19_1_what_is_given_counts_and_only_readiness_asks_for_several_successes() {
    let given = Probe {
        initial_delay_seconds: Some(7),
        period_seconds: Some(i32::MAX),
        timeout_seconds: Some(5),
        success_threshold: Some(4),
        failure_threshold: Some(9),
        ..Probe::default()
    };
    for (purpose, successes) in [(Purpose::Readiness, 4), (Purpose::Liveness, 1), (Purpose::Startup, 1)] {
        let timing = Timing::of(&given, purpose);
        assert_eq!(
            (timing.initial_delay, timing.period, timing.timeout),
            (secs(7), secs(2_147_483_647), secs(5))
        );
        assert_eq!((timing.success_threshold, timing.failure_threshold), (successes, 9));
    }
}
