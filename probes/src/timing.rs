//! A probe's figures (behaviour.md 19.1).

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

use crate::worker::Purpose;

/// A probe's figures with the API's defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the container's start to the first probe.
    pub initial_delay: Duration,
    /// Between probes; never zero.
    pub period: Duration,
    /// How long one may take; at least a second.
    pub timeout: Duration,
    /// Successes in a row that make a success, at least 1.
    pub success_threshold: u32,
    /// Failures in a row that make a failure, at least 1.
    pub failure_threshold: u32,
}

impl Timing {
    /// The figures of `probe`; what is missing or below its bound has the default. Only readiness can ask for more than one
    /// success.
    pub fn of(probe: &Probe, purpose: Purpose) -> Self {
        let positive = |value: Option<i32>, default: u32| {
            value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        let seconds = |n: u32| Duration::from_secs(u64::from(n));
        let successes = if purpose == Purpose::Readiness { positive(probe.success_threshold, 1) } else { 1 };
        Self {
            initial_delay: seconds(positive(probe.initial_delay_seconds, 0)),
            period: seconds(positive(probe.period_seconds, 10)),
            timeout: seconds(positive(probe.timeout_seconds, 1)),
            success_threshold: successes,
            failure_threshold: positive(probe.failure_threshold, 3),
        }
    }
}

#[cfg(test)]
mod tests;
