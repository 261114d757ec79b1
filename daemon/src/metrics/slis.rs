//! How the daemon's own health checks have come out, in a registry of their own (`/metrics/slis`, behaviour.md 44.10).

use prometheus::{Encoder as _, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// Shared by the servers.
#[derive(Clone, Debug)]
pub(crate) struct Slis {
    registry: Registry,
    last: IntGaugeVec,
    all: IntCounterVec,
}

impl Slis {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let last =
            Opts::new("kubernetes_healthcheck", "1 where a health check has come out well last, else 0.");
        let last = IntGaugeVec::new(last, &["name", "type"])?;
        let all = Opts::new("kubernetes_healthchecks_total", "How often a health check has come out so.");
        let all = IntCounterVec::new(all, &["name", "status", "type"])?;
        registry.register(Box::new(last.clone()))?;
        registry.register(Box::new(all.clone()))?;
        Ok(Self { registry, last, all })
    }

    /// A check was made for `/healthz`.
    pub(crate) fn checked(&self, name: &'static str, is_well: bool) {
        self.last.with_label_values(&[name, "healthz"]).set(i64::from(is_well));
        let status = if is_well { "success" } else { "error" };
        self.all.with_label_values(&[name, status, "healthz"]).inc();
    }

    /// Begins to count anew.
    pub(crate) fn reset(&self) {
        self.last.reset();
        self.all.reset();
    }

    /// All of it, in the text format of Prometheus.
    ///
    /// # Errors
    /// A series cannot be written.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
