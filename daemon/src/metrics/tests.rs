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
    metrics.websocket_asked("portforward");
    metrics.shutdown_began();
    let text = metrics.text().expect("written");
    for line in [
        "# TYPE kubelet_orphaned_runtime_pods_total counter",
        "kubelet_orphaned_runtime_pods_total 1",
        "kubelet_admission_rejections_total{reason=\"OutOfcpu\"} 2",
        "kubelet_preemptions{preemption_signal=\"memory\"} 1",
        "# TYPE kubelet_websocket_streaming_requests_total counter",
        "kubelet_websocket_streaming_requests_total{subresource=\"portforward\"} 1",
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

#[test]
fn certificates_are_told_by_what_is_left_of_them() {
    let metrics = Metrics::new().expect("good names");
    let text = metrics.text().expect("written");
    for name in ["client", "server"] {
        let line = format!("kubelet_certificate_manager_{name}_ttl_seconds +Inf");
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let hour = jiff::SignedDuration::from_hours(1);
    metrics.client_certificate(Some(Timestamp::now() + hour));
    metrics.serving_certificate(Some(Timestamp::now() - hour));
    metrics.client_certificate_failed();
    metrics.serving_certificate_rotated(Duration::from_secs(100));
    let text = metrics.text().expect("written");
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
        line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")
    };
    assert!((3590.0..=3600.0).contains(&value("kubelet_certificate_manager_client_ttl_seconds")));
    assert!((-3610.0..=-3600.0).contains(&value("kubelet_certificate_manager_server_ttl_seconds")));
    assert_eq!(value("kubelet_certificate_manager_client_expiration_renew_errors"), 1.0);
    assert_eq!(value("kubelet_server_expiration_renew_errors"), 0.0);
    assert_eq!(value("kubelet_certificate_manager_server_rotation_seconds_count"), 1.0);
    let bucket = "kubelet_certificate_manager_server_rotation_seconds_bucket{le=\"3600\"} 1";
    assert!(text.lines().any(|l| l == bucket), "{text}");
    metrics.client_certificate(None);
    assert!(metrics.text().expect("written").contains("client_ttl_seconds +Inf"));
}
