use super::*;
use crate::config::{GoDuration, PriorityShutdown};

fn group(priority: i32, seconds: u64) -> ShutdownGroup {
    ShutdownGroup { priority, period: Duration::from_secs(seconds) }
}

#[test]
fn row_42_1_critical_pods_have_the_last_part_of_the_time_for_themselves() {
    let mut config = Config::default();
    assert_eq!(groups(&config), [], "off unless it is set");
    config.shutdown_grace_period = GoDuration::from_secs(30);
    config.shutdown_grace_period_critical_pods = GoDuration::from_secs(10);
    assert_eq!(groups(&config), [group(0, 20), group(CRITICAL, 10)]);
}

#[test]
fn row_42_1_groups_by_priority_are_taken_as_they_are() {
    let of = |priority, shutdown_grace_period_seconds| PriorityShutdown {
        priority,
        shutdown_grace_period_seconds,
    };
    let config =
        Config { shutdown_grace_period_by_pod_priority: vec![of(100, 7), of(0, 3)], ..Config::default() };
    assert_eq!(groups(&config), [group(100, 7), group(0, 3)]);
}
