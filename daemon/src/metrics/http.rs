//! What is asked of the servers (behaviour.md 35.20).

use std::sync::Arc;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::time::Instant;

const LABELS: [&str; 4] = ["method", "path", "server_type", "long_running"];

/// Methods that are counted by their name.
const METHODS: [&str; 8] = ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"];

/// Shared by the servers.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    requests: IntCounterVec,
    durations: HistogramVec,
    inflight: IntGaugeVec,
}

/// What a request is counted under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The beginning of its path, one of few.
    pub(crate) path: &'static str,
    /// `readwrite` or `readonly`.
    pub(crate) server: &'static str,
    pub(crate) is_long_running: bool,
}

/// A request that is being answered, until the last of these is dropped: the body of the answer has one, and whoever
/// takes over the connection has to keep one.
#[derive(Clone, Debug)]
pub(crate) struct Inflight(#[allow(dead_code)] Arc<Running>);

#[derive(Debug)]
struct Running {
    http: Http,
    labels: [&'static str; 4],
    began: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.http.inflight.with_label_values(&self.labels).dec();
        self.http.durations.with_label_values(&self.labels).observe(self.began.elapsed().as_secs_f64());
    }
}

impl Http {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("kubelet_http_requests_total", "Requests that the servers have got.");
        let requests = IntCounterVec::new(requests, &LABELS)?;
        let durations = HistogramOpts::new(
            "kubelet_http_requests_duration_seconds",
            "Seconds from a request to the end of its answer.",
        );
        let durations = HistogramVec::new(durations, &LABELS)?;
        let inflight =
            Opts::new("kubelet_http_inflight_requests", "Requests whose answers have not ended yet.");
        let inflight = IntGaugeVec::new(inflight, &LABELS)?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(inflight.clone()))?;
        Ok(Self { requests, durations, inflight })
    }

    /// A request has come.
    pub(crate) fn begin(&self, method: &str, kind: Kind) -> Inflight {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let long_running = if kind.is_long_running { "true" } else { "false" };
        let labels = [method, kind.path, kind.server, long_running];
        self.requests.with_label_values(&labels).inc();
        self.inflight.with_label_values(&labels).inc();
        Inflight(Arc::new(Running { http: self.clone(), labels, began: Instant::now() }))
    }
}

#[cfg(test)]
mod tests;
