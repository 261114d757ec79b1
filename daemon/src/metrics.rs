//! What the daemon counts, under a kubelet's names (behaviour.md 44).
//!
//! One registry for the process, made at the start and handed to whoever counts; `server` writes it out at `/metrics`. Every label
//! has few values: what comes from outside is one of a fixed list or `Other`.

mod http;
pub(crate) mod log_usage;
mod slis;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

pub(crate) use self::http::{Http, Inflight, Kind};
pub(crate) use self::slis::Slis;

/// The type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of a status write, in seconds: a kubelet's.
const STATUS_BUCKETS: [f64; 11] = [0.010, 0.050, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];

/// The same of the life of a serving certificate, from a minute to four years.
const ROTATION_BUCKETS: [f64; 10] = [
    60.0,
    3600.0,
    14_400.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
    124_416_000.0,
];

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
    websockets: IntCounterVec,
    shutdown_start: Gauge,
    shutdown_end: Gauge,
    certificates: Certificates,
    http: Http,
    slis: Slis,
}

/// When a certificate ends, which is asked for when the series is read. Seconds since 1970.
#[derive(Debug)]
struct Expiry {
    until: AtomicI64,
    left: Gauge,
}

impl Expiry {
    /// Stands for no certificate.
    const NEVER: i64 = i64::MAX;

    fn new(name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Ok(Self { until: AtomicI64::new(Self::NEVER), left: Gauge::new(name, help)? })
    }

    fn set(&self, until: Option<Timestamp>) {
        self.until.store(until.map_or(Self::NEVER, Timestamp::as_second), Ordering::Relaxed);
    }

    fn refresh(&self) {
        let until = self.until.load(Ordering::Relaxed);
        self.left.set(if until == Self::NEVER { f64::INFINITY } else { until as f64 - now() });
    }
}

/// behaviour.md 34.7.
#[derive(Debug)]
struct Certificates {
    client: Expiry,
    server: Expiry,
    client_errors: IntCounter,
    server_errors: IntCounter,
    server_rotation: Histogram,
}

impl Certificates {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let client = Expiry::new(
            "kubelet_certificate_manager_client_ttl_seconds",
            "Seconds until the client certificate in use ends, below zero when it has; +Inf where there is none.",
        )?;
        let server = Expiry::new(
            "kubelet_certificate_manager_server_ttl_seconds",
            "Seconds until the serving certificate in use ends, below zero when it has; +Inf where there is none.",
        )?;
        let client_errors = IntCounter::new(
            "kubelet_certificate_manager_client_expiration_renew_errors",
            "Attempts at a client certificate that failed.",
        )?;
        let server_errors = IntCounter::new(
            "kubelet_server_expiration_renew_errors",
            "Attempts at a serving certificate that failed.",
        )?;
        let server_rotation = HistogramOpts::new(
            "kubelet_certificate_manager_server_rotation_seconds",
            "Age of each serving certificate when the next one took its place, in seconds.",
        );
        let server_rotation = Histogram::with_opts(server_rotation.buckets(ROTATION_BUCKETS.to_vec()))?;
        registry.register(Box::new(client.left.clone()))?;
        registry.register(Box::new(server.left.clone()))?;
        registry.register(Box::new(client_errors.clone()))?;
        registry.register(Box::new(server_errors.clone()))?;
        registry.register(Box::new(server_rotation.clone()))?;
        Ok(Self { client, server, client_errors, server_errors, server_rotation })
    }
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
        let websockets = Opts::new(
            "kubelet_websocket_streaming_requests_total",
            "Requests over a WebSocket to exec, attach or portforward.",
        );
        let websockets = IntCounterVec::new(websockets, &["subresource"])?;
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
        registry.register(Box::new(websockets.clone()))?;
        let certificates = Certificates::new(&registry)?;
        let (http, slis) = (Http::new(&registry)?, Slis::new()?);
        Ok(Self(Arc::new(Inner {
            registry,
            orphans,
            rejections,
            preemptions,
            status_sync,
            websockets,
            shutdown_start,
            shutdown_end,
            certificates,
            http,
            slis,
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

    /// A client with a WebSocket has asked for this: `exec`, `attach` or `portforward`.
    pub(crate) fn websocket_asked(&self, subresource: &'static str) {
        self.0.websockets.with_label_values(&[subresource]).inc();
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

    /// The client certificate in use ends then; there may be none.
    pub(crate) fn client_certificate(&self, until: Option<Timestamp>) {
        self.0.certificates.client.set(until);
    }

    /// The serving certificate in use ends then; there may be none.
    pub(crate) fn serving_certificate(&self, until: Option<Timestamp>) {
        self.0.certificates.server.set(until);
    }

    /// No client certificate could be had this time.
    pub(crate) fn client_certificate_failed(&self) {
        self.0.certificates.client_errors.inc();
    }

    /// No serving certificate could be had this time.
    pub(crate) fn serving_certificate_failed(&self) {
        self.0.certificates.server_errors.inc();
    }

    /// A serving certificate of this age has got a successor.
    pub(crate) fn serving_certificate_rotated(&self, age: Duration) {
        self.0.certificates.server_rotation.observe(age.as_secs_f64());
    }

    /// The series of the servers.
    pub(crate) fn http(&self) -> &Http {
        &self.0.http
    }

    /// The series of the health checks, which are no part of the others.
    pub(crate) fn slis(&self) -> &Slis {
        &self.0.slis
    }

    /// All of it but the health checks, in the text format of Prometheus.
    ///
    /// # Errors
    /// A series cannot be written.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        self.0.certificates.client.refresh();
        self.0.certificates.server.refresh();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        let text = String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))?;
        // As the format has it; the crate writes Rust's word.
        Ok(text.replace(" inf\n", " +Inf\n"))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests;
