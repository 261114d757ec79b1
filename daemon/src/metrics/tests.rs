use super::*;

#[test]
fn each_series_has_the_name_and_the_labels_of_a_kubelet() {
    let metrics = Metrics::new().expect("good names");
    assert!(metrics.text().expect("written").contains("\nkubelet_orphaned_runtime_pods_total 0\n"));
    metrics.orphan_found();
    metrics.pod_refused("OutOfcpu");
    metrics.pod_refused("OutOfcpu");
    metrics.pod_preempted("memory");
    metrics.status_taken(Duration::from_millis(60));
    metrics.shutdown_began();
    let text = metrics.text().expect("written");
    for line in [
        "# TYPE kubelet_orphaned_runtime_pods_total counter",
        "kubelet_orphaned_runtime_pods_total 1",
        "kubelet_admission_rejections_total{reason=\"OutOfcpu\"} 2",
        "kubelet_preemptions{preemption_signal=\"memory\"} 1",
        "# TYPE kubelet_graceful_shutdown_start_time_seconds gauge",
        "kubelet_graceful_shutdown_end_time_seconds 0",
        "# TYPE kubelet_pod_status_sync_duration_seconds histogram",
        "kubelet_pod_status_sync_duration_seconds_bucket{le=\"0.05\"} 0",
        "kubelet_pod_status_sync_duration_seconds_bucket{le=\"0.1\"} 1",
        "kubelet_pod_status_sync_duration_seconds_bucket{le=\"60\"} 1",
        "kubelet_pod_status_sync_duration_seconds_count 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn what_comes_from_outside_makes_no_series_of_its_own() {
    let metrics = Metrics::new().expect("good names");
    for n in 0..100 {
        metrics.pod_refused(&format!("Reason{n}"));
        metrics.pod_refused(&format!("OutOfexample.com/device-{n}"));
        metrics.pod_preempted(&format!("example.com/device-{n}"));
    }
    let text = metrics.text().expect("written");
    for line in [
        "kubelet_admission_rejections_total{reason=\"Other\"} 100",
        "kubelet_admission_rejections_total{reason=\"OutOfExtendedResources\"} 100",
        "kubelet_preemptions{preemption_signal=\"Other\"} 100",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert_eq!(text.lines().filter(|l| l.starts_with("kubelet_admission_rejections_total{")).count(), 2);
}
