//! What the daemon counts, under a kubelet's names (behaviour.md 44).
//!
//! One registry for the process, made at the start and handed to whoever counts; `server` writes it out at `/metrics`. Every label
//! has few values: what comes from outside is one of a fixed list or `Other`.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

/// The type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of a status write, in seconds: a kubelet's.
const STATUS_BUCKETS: [f64; 11] = [0.010, 0.050, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];

/// Reasons of refusals that are counted by their name.
const REASONS: [&str; 25] = [
    "AppArmor",
    "Evicted",
    "InitContainerRestartPolicyForbidden",
    "InvalidNodeInfo",
    "NodeAffinity",
    "NodeName",
    "NodePorts",
    "NodeShutdown",
    "OutOfcpu",
    "OutOfephemeral-storage",
    "OutOfmemory",
    "OutOfpods",
    "PodFeatureUnsupported",
    "PodLevelResourcesNotSupported",
    "PodOSNotSupported",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "SupplementalGroupsPolicyNotSupported",
    "SysctlForbidden",
    "TaintToleration",
    "TopologyAffinityError",
    "SMTAlignmentError",
    "UnexpectedAdmissionError",
    "UnexpectedPredicateFailureType",
    "UnknownReason",
    "VolumeAttachmentLimitExceeded",
];

/// Resources that a critical pod may be short of and that are counted by their name.
const SIGNALS: [&str; 4] = ["cpu", "ephemeral-storage", "memory", "pods"];

/// Shared by all; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    orphans: IntCounter,
    rejections: IntCounterVec,
    preemptions: IntCounterVec,
    status_sync: Histogram,
    shutdown_start: Gauge,
    shutdown_end: Gauge,
}

impl Metrics {
    /// Nothing has been counted yet.
    ///
    /// # Errors
    /// Two series have the same name, or one has none that can be written: a mistake in this file.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let orphans = IntCounter::new(
            "kubelet_orphaned_runtime_pods_total",
            "Pods that the runtime had and no source, counted once each when they were found.",
        )?;
        let rejections = Opts::new("kubelet_admission_rejections_total", "Pods that the node has refused.");
        let rejections = IntCounterVec::new(rejections, &["reason"])?;
        let preemptions = Opts::new(
            "kubelet_preemptions",
            "Pods that were put out for a critical one, by the resource that it was short of.",
        );
        let preemptions = IntCounterVec::new(preemptions, &["preemption_signal"])?;
        let status_sync = HistogramOpts::new(
            "kubelet_pod_status_sync_duration_seconds",
            "Seconds from a change of a pod's status until the API server had taken it.",
        );
        let status_sync = Histogram::with_opts(status_sync.buckets(STATUS_BUCKETS.to_vec()))?;
        let shutdown_start = Gauge::new(
            "kubelet_graceful_shutdown_start_time_seconds",
            "When the pods were told that the node goes down, in seconds since 1970; 0 when they were not.",
        )?;
        let shutdown_end = Gauge::new(
            "kubelet_graceful_shutdown_end_time_seconds",
            "When the node was free to go down, in seconds since 1970; 0 when it was not.",
        )?;
        registry.register(Box::new(shutdown_start.clone()))?;
        registry.register(Box::new(shutdown_end.clone()))?;
        registry.register(Box::new(orphans.clone()))?;
        registry.register(Box::new(rejections.clone()))?;
        registry.register(Box::new(preemptions.clone()))?;
        registry.register(Box::new(status_sync.clone()))?;
        Ok(Self(Arc::new(Inner {
            registry,
            orphans,
            rejections,
            preemptions,
            status_sync,
            shutdown_start,
            shutdown_end,
        })))
    }

    /// A pod was found in the runtime that no source has.
    pub(crate) fn orphan_found(&self) {
        self.0.orphans.inc();
    }

    /// A pod was refused for this reason.
    pub(crate) fn pod_refused(&self, reason: &str) {
        let label = match REASONS.iter().find(|known| **known == reason) {
            Some(known) => known,
            None if reason.starts_with("OutOf") => "OutOfExtendedResources",
            None => "Other",
        };
        self.0.rejections.with_label_values(&[label]).inc();
    }

    /// A pod was put out, as this resource was short.
    pub(crate) fn pod_preempted(&self, resource: &str) {
        let label = SIGNALS.iter().find(|known| **known == resource).map_or("Other", |known| known);
        self.0.preemptions.with_label_values(&[label]).inc();
    }

    /// The API server has taken a status, so long after the change.
    pub(crate) fn status_taken(&self, after: Duration) {
        self.0.status_sync.observe(after.as_secs_f64());
    }

    /// The node goes down.
    pub(crate) fn shutdown_began(&self) {
        self.0.shutdown_start.set(now());
        self.0.shutdown_end.set(0.0);
    }

    /// The pods have ended, or have had their time.
    pub(crate) fn shutdown_ended(&self) {
        self.0.shutdown_end.set(now());
    }

    /// All of it, in the text format of Prometheus.
    ///
    /// # Errors
    /// A series cannot be written.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests;
