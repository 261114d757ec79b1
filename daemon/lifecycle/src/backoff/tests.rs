use super::*;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Fails at once after every restart and tells the delays that were served.
fn delays(curve: Curve, restarts: usize) -> Vec<u64> {
    let mut backoff = Backoff::default();
    let mut now = secs(1000);
    let mut served = Vec::new();
    for _ in 0..restarts {
        let failed_at = now;
        let until = backoff.held_until(curve, failed_at).map_or(failed_at, |(_, until)| until);
        served.push((until - failed_at).as_secs());
        now = until;
        backoff.granted(curve, failed_at, now);
    }
    served
}

#[test]
fn the_first_restart_is_immediate_and_then_delays_double_to_five_minutes() {
    assert_eq!(delays(Curve::restart(secs(300)), 8), [0, 10, 20, 40, 80, 160, 300, 300]);
}

#[test]
fn a_node_maximum_below_ten_seconds_lowers_the_first_delay_too() {
    assert_eq!(delays(Curve::restart(secs(3)), 4), [0, 3, 3, 3]);
    assert_eq!(delays(Curve::restart(secs(25)), 5), [0, 10, 20, 25, 25]);
}

#[test]
fn a_container_that_ran_longer_than_ten_minutes_starts_from_the_beginning() {
    let curve = Curve::restart(secs(300));
    let mut backoff = Backoff::default();
    backoff.granted(curve, secs(0), secs(0));
    backoff.granted(curve, secs(0), secs(10));
    assert_eq!(backoff.held_until(curve, secs(610)).map(|(d, _)| d), Some(secs(20)));
    assert_eq!(backoff.held_until(curve, secs(611)), None);
    backoff.granted(curve, secs(611), secs(611));
    assert_eq!(backoff.held_until(curve, secs(612)).map(|(d, _)| d), Some(secs(10)));
}
