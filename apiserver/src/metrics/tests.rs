use super::*;
use crate::kinds::metrics::{NODE_METRICS, POD_METRICS};

fn reading(seconds: f64, at: i64, started: Option<f64>) -> Reading {
    let time = Timestamp::from_millisecond(1_700_000_000_000 + at).unwrap();
    Reading { cpu: Some((seconds, time)), memory: Some(10 * 1024), started }
}

fn pair(before: &[(&str, Reading)], now: &[(&str, Reading)]) -> Pair {
    let page = |node, containers: &[(&str, Reading)]| {
        let key = |name: &str| ("ns".to_owned(), "p".to_owned(), name.to_owned());
        let containers = containers.iter().map(|(name, reading)| (key(name), *reading)).collect();
        Arc::new(Page { node, containers })
    };
    Pair { before: page(reading(10.0, 0, None), before), now: page(reading(11.0, 2000, None), now) }
}

#[test]
fn a_nodes_usage_is_a_rate_between_two_readings() {
    let node = json!({"metadata": {"name": "n1", "labels": {"a": "b"}}});
    let metrics = node_metrics(&NODE_METRICS, &node, &pair(&[], &[])).unwrap();
    assert_eq!(metrics["usage"], json!({"cpu": "500000000n", "memory": "10Ki"}));
    assert_eq!((&metrics["window"], &metrics["timestamp"]), (&json!("2s"), &json!("2023-11-14T22:13:22Z")));
    assert_eq!(
        (&metrics["kind"], &metrics["apiVersion"]),
        (&json!("NodeMetrics"), &json!("metrics.k8s.io/v1beta1"))
    );
    assert_eq!(metrics["metadata"]["labels"], json!({"a": "b"}));
}

#[test]
fn a_container_that_has_started_meanwhile_is_measured_from_its_start() {
    let started = 1_700_000_001.0;
    let pair = pair(
        &[("old", reading(1.0, 0, Some(5.0))), ("again", reading(9.0, 0, Some(5.0)))],
        &[
            ("old", reading(2.0, 2000, Some(5.0))),
            ("again", reading(0.25, 2000, Some(started))),
            ("unknown", reading(0.25, 2000, None)),
        ],
    );
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"}});
    let metrics = pod_metrics(&POD_METRICS, &pod, &containers_of(&pair)).unwrap();
    let usage = |cpu: &str| json!({"cpu": cpu, "memory": "10Ki"});
    let wanted = json!([
        {"name": "again", "usage": usage("250000000n")},
        {"name": "old", "usage": usage("500000000n")},
    ]);
    assert_eq!(metrics["containers"], wanted);
    let other = json!({"metadata": {"name": "q", "namespace": "ns"}});
    assert_eq!(pod_metrics(&POD_METRICS, &other, &containers_of(&pair)), None);
}

#[test]
fn readings_that_give_no_rate_are_told() {
    for (before, now) in [
        (reading(1.0, 0, None), reading(1.0, 0, None)),
        (reading(2.0, 0, None), reading(1.0, 1000, None)),
        (reading(1.0, 0, None), reading(2.0, 121_000, None)),
        (reading(1.0, 0, None), Reading { memory: None, ..reading(2.0, 1000, None) }),
    ] {
        assert_eq!(used(&before, &now), None, "{before:?} {now:?}");
    }
}

#[test]
fn windows_are_written_as_go_does() {
    for (seconds, wanted) in [(2.0, "2s"), (1.5, "1.5s"), (61.5, "1m1.5s"), (0.25, "0.25s"), (60.0, "1m0s")] {
        assert_eq!(window(seconds), wanted);
    }
}
