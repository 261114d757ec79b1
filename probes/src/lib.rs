//! When to probe a container, and how results become a verdict: pure, a function of (state, input, now).
//!
//! ```text
//!   container runs --> due at start + initialDelay --> result --> due again after the period
//!                                                       | successThreshold / failureThreshold in a row
//!                                                       v
//!                                                    verdict
//! ```
//!
//! The drivers that carry probes out come with the workloads issue; until then a pod that has probes is not started.
#![forbid(unsafe_code)]

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Whether the container has started.
    Startup,
    /// Whether it still works.
    Liveness,
    /// Whether it can serve.
    Readiness,
}

/// What is believed about the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not decided yet.
    Unknown,
    /// It passes.
    Success,
    /// It fails.
    Failure,
}

/// A probe's figures with the API's defaults filled in (behaviour.md 19.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the container's start to the first probe.
    pub initial_delay: Duration,
    /// Between probes.
    pub period: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Successes in a row that make a success.
    pub success_threshold: u32,
    /// Failures in a row that make a failure.
    pub failure_threshold: u32,
}

impl Timing {
    /// The figures of `probe`; what is missing or below its bound has the default.
    pub fn of(probe: &Probe) -> Self {
        let positive = |value: Option<i32>, default: u32| {
            value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        let seconds = |n: u32| Duration::from_secs(u64::from(n));
        Self {
            initial_delay: seconds(positive(probe.initial_delay_seconds, 0)),
            period: seconds(positive(probe.period_seconds, 10)),
            timeout: seconds(positive(probe.timeout_seconds, 1)),
            success_threshold: positive(probe.success_threshold, 1),
            failure_threshold: positive(probe.failure_threshold, 3),
        }
    }
}

/// One probe of one container, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    purpose: Purpose,
    timing: Timing,
    verdict: Verdict,
    row: Option<(bool, u32)>,
    next: Option<Duration>,
}

impl Worker {
    /// The probe of a container that started at `started`; `now` and all times are on one clock.
    pub fn new(purpose: Purpose, timing: Timing, started: Duration, now: Duration) -> Self {
        let verdict = match purpose {
            Purpose::Startup => Verdict::Unknown,
            Purpose::Liveness => Verdict::Success,
            Purpose::Readiness => Verdict::Failure,
        };
        let next = (started + timing.initial_delay).max(now);
        Self { purpose, timing, verdict, row: None, next: Some(next) }
    }

    /// When the next probe is due; never again once the verdict is final for this container.
    pub fn due(&self) -> Option<Duration> {
        self.next
    }

    /// What is believed now.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Takes the result of the probe that was due; tells whether the verdict changed.
    ///
    /// A liveness failure and any startup decision are final: the next container has a worker of its own
    /// (behaviour.md 19.6).
    pub fn result(&mut self, success: bool, now: Duration) -> bool {
        if self.next.is_none() {
            return false;
        }
        let count = match self.row {
            Some((same, count)) if same == success => count.saturating_add(1),
            _ => 1,
        };
        self.row = Some((success, count));
        self.next = Some(self.after(now));
        let threshold = if success { self.timing.success_threshold } else { self.timing.failure_threshold };
        if count < threshold {
            return false;
        }
        let verdict = if success { Verdict::Success } else { Verdict::Failure };
        let changed = verdict != self.verdict;
        self.verdict = verdict;
        let last = match self.purpose {
            Purpose::Startup => true,
            Purpose::Liveness => verdict == Verdict::Failure,
            Purpose::Readiness => false,
        };
        if last {
            self.next = None;
        }
        changed
    }

    /// The next beat of the period that is not over yet: a late probe does not shift those after it.
    fn after(&self, now: Duration) -> Duration {
        let due = self.next.unwrap_or(now) + self.timing.period;
        if due > now { due } else { now + self.timing.period }
    }
}

#[cfg(test)]
mod tests;
