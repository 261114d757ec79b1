//! What the daemon does for pods, and how long that takes (behaviour.md 44.7): calls to the runtime and to the API server, cgroups, volumes,
//! readings of the runtime, starts.

use std::time::Duration;

use cri_client::Observe;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use tokio::time::Instant;

/// Upper bounds of a call to the runtime, in seconds: a kubelet's, from 5 ms on, each two and a half times the one before.
const RUNTIME_FIRST: f64 = 0.005;
const RUNTIME_FACTOR: f64 = 2.5;
const RUNTIME_BUCKETS: usize = 14;
/// The same of a pod's start.
const START_BUCKETS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];
/// The same of a volume.
const STORAGE_BUCKETS: [f64; 13] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];

/// Shared by whoever works; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    calls: IntCounterVec,
    failed_calls: IntCounterVec,
    call_durations: HistogramVec,
    worker: HistogramVec,
    start: Histogram,
    start_total: Histogram,
    started_pods: IntCounter,
    failed_pods: IntCounterVec,
    relist: Histogram,
    relist_interval: Histogram,
    cgroups: HistogramVec,
    storage: HistogramVec,
    requests: IntCounterVec,
}

/// How far a pod is, as its step is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Sync,
    Kill,
    Terminated,
}

impl Work {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let histograms = |name: &str, help: &str, buckets: Vec<f64>, labels: &[&str]| {
            let histogram = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let usual = || prometheus::DEFAULT_BUCKETS.to_vec();
        let started_pods = IntCounter::new("kubelet_started_pods_total", "Sandboxes that were made.")?;
        registry.register(Box::new(started_pods.clone()))?;
        let by_call = ["operation_type"];
        Ok(Self {
            calls: counter("kubelet_runtime_operations_total", "Calls to the runtime.", &by_call)?,
            failed_calls: counter(
                "kubelet_runtime_operations_errors_total",
                "Calls to the runtime that failed.",
                &by_call,
            )?,
            call_durations: histograms(
                "kubelet_runtime_operations_duration_seconds",
                "Seconds that calls to the runtime took.",
                prometheus::exponential_buckets(RUNTIME_FIRST, RUNTIME_FACTOR, RUNTIME_BUCKETS)?,
                &by_call,
            )?,
            worker: histograms(
                "kubelet_pod_worker_duration_seconds",
                "Seconds that the steps of pods took, without what they wait for.",
                usual(),
                &by_call,
            )?,
            start: histogram(
                "kubelet_pod_start_duration_seconds",
                "Seconds from the first word of a pod until its containers ran.",
                START_BUCKETS.to_vec(),
            )?,
            start_total: histogram(
                "kubelet_pod_start_total_duration_seconds",
                "Seconds from the creation of a pod until its containers ran, pulls and init containers included.",
                START_BUCKETS.to_vec(),
            )?,
            started_pods,
            failed_pods: counter(
                "kubelet_started_pods_errors_total",
                "Sandboxes that could not be made.",
                &["message"],
            )?,
            relist: histogram(
                "kubelet_pleg_relist_duration_seconds",
                "Seconds that a full reading of the runtime took.",
                usual(),
            )?,
            relist_interval: histogram(
                "kubelet_pleg_relist_interval_seconds",
                "Seconds between full readings of the runtime.",
                usual(),
            )?,
            cgroups: histograms(
                "kubelet_cgroup_manager_duration_seconds",
                "Seconds that work on pods' cgroups took.",
                usual(),
                &by_call,
            )?,
            storage: histograms(
                "storage_operation_duration_seconds",
                "Seconds that work on volumes took.",
                STORAGE_BUCKETS.to_vec(),
                &["migrated", "operation_name", "status", "volume_plugin"],
            )?,
            requests: counter(
                "rest_client_requests_total",
                "Requests to the API server, by status, method and host.",
                &["code", "host", "method"],
            )?,
        })
    }

    /// A step of a pod has been carried out.
    pub(crate) fn stepped(&self, step: Step, took: Duration) {
        let label = match step {
            Step::Create => "create",
            Step::Sync => "sync",
            Step::Kill => "kill",
            Step::Terminated => "terminated",
        };
        self.worker.with_label_values(&[label]).observe(took.as_secs_f64());
    }

    /// A pod runs, so long after the first word of it and after its creation.
    pub(crate) fn pod_runs(&self, since_seen: Duration, since_creation: Option<Duration>) {
        self.start.observe(since_seen.as_secs_f64());
        if let Some(took) = since_creation {
            self.start_total.observe(took.as_secs_f64());
        }
    }

    /// The runtime was read in full, so long after the time before.
    pub(crate) fn relisted(&self, took: Duration, since_last: Option<Duration>) {
        self.relist.observe(took.as_secs_f64());
        if let Some(interval) = since_last {
            self.relist_interval.observe(interval.as_secs_f64());
        }
    }

    /// Something was done to a pod's cgroup: `create`, `update` or `destroy`.
    pub(crate) fn cgroup(&self, operation: &'static str, began: Instant) {
        self.cgroups.with_label_values(&[operation]).observe(began.elapsed().as_secs_f64());
    }

    /// A volume was made, or could not be.
    pub(crate) fn volume(&self, plugin: &'static str, succeeded: bool, began: Instant) {
        let status = if succeeded { "success" } else { "fail-unknown" };
        let labels = ["false", "volume_mount", status, plugin];
        self.storage.with_label_values(&labels).observe(began.elapsed().as_secs_f64());
    }

    /// The API server has answered; `code` is what it said, or none where there was no answer.
    pub(crate) fn request(&self, method: &http::Method, host: &str, code: Option<u16>) {
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
        self.requests.with_label_values(&[code.as_str(), host, method.as_str()]).inc();
    }
}

impl Observe for Work {
    fn called(&self, call: &'static str, took: Duration, succeeded: bool) {
        let label = operation(call);
        self.calls.with_label_values(&[label]).inc();
        self.call_durations.with_label_values(&[label]).observe(took.as_secs_f64());
        if !succeeded {
            self.failed_calls.with_label_values(&[label]).inc();
        }
        match (call, succeeded) {
            ("RunPodSandbox", true) => self.started_pods.inc(),
            // The runtime's words have ids in them, and would be a label each.
            ("RunPodSandbox", false) => self.failed_pods.with_label_values(&["CreatePodSandboxError"]).inc(),
            _ => {}
        }
    }
}

/// What a kubelet calls it.
fn operation(call: &'static str) -> &'static str {
    match call {
        "Attach" => "attach",
        "CheckpointContainer" => "checkpoint_container",
        "ContainerStats" => "container_stats",
        "ContainerStatus" => "container_status",
        "CreateContainer" => "create_container",
        "Exec" => "exec",
        "ExecSync" => "exec_sync",
        "ImageFsInfo" => "image_fs_info",
        "ImageStatus" => "image_status",
        "ListContainerStats" => "list_container_stats",
        "ListContainers" => "list_containers",
        "ListImages" => "list_images",
        "ListPodSandbox" => "list_podsandbox",
        "ListPodSandboxStats" => "list_podsandbox_stats",
        "PodSandboxStatus" => "podsandbox_status",
        "PortForward" => "port_forward",
        "PullImage" => "pull_image",
        "RemoveContainer" => "remove_container",
        "RemoveImage" => "remove_image",
        "RemovePodSandbox" => "remove_podsandbox",
        "ReopenContainerLog" => "reopen_container_log",
        "RunPodSandbox" => "run_podsandbox",
        "RuntimeConfig" => "runtime_config",
        "StartContainer" => "start_container",
        "Status" => "status",
        "StopContainer" => "stop_container",
        "StopPodSandbox" => "stop_podsandbox",
        "UpdateContainerResources" => "update_container",
        "UpdatePodSandboxResources" => "update_podsandbox_resources",
        "UpdateRuntimeConfig" => "update_runtime_config",
        "Version" => "version",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, TextEncoder};

    use super::*;

    #[test]
    fn row_44_7_calls_are_counted_under_a_kubelets_names() {
        let registry = Registry::new();
        let work = Work::new(&registry).unwrap();
        work.called("RunPodSandbox", Duration::from_millis(100), true);
        work.called("RunPodSandbox", Duration::from_millis(1), false);
        work.pod_runs(Duration::from_secs(1), Some(Duration::from_secs(2)));
        work.request(&http::Method::GET, "10.0.0.1:6443", Some(200));
        work.request(&http::Method::GET, "10.0.0.1:6443", None);
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in [
            "kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"} 2",
            "kubelet_runtime_operations_errors_total{operation_type=\"run_podsandbox\"} 1",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"run_podsandbox\",le=\"0.005\"} 1",
            "kubelet_started_pods_total 1",
            "kubelet_pod_start_duration_seconds_bucket{le=\"1\"} 1",
            "kubelet_pod_start_total_duration_seconds_bucket{le=\"1\"} 0",
            "rest_client_requests_total{code=\"200\",host=\"10.0.0.1:6443\",method=\"GET\"} 1",
            "rest_client_requests_total{code=\"<error>\",host=\"10.0.0.1:6443\",method=\"GET\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
