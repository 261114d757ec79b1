//! One probe of one run of a container, from its start to its end.

use std::time::Duration;

use crate::timing::Timing;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Whether the container has started.
    Startup,
    /// Whether it still works.
    Liveness,
    /// Whether it can serve.
    Readiness,
}

impl Purpose {
    /// As events and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
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

/// See the module's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    purpose: Purpose,
    timing: Timing,
    verdict: Verdict,
    /// Whether `verdict` comes from results and not from the beginning.
    decided: bool,
    /// The last result, and how many like it there were in a row.
    row: Option<(bool, u32)>,
    next: Option<Duration>,
}

impl Worker {
    /// The probe of a container that started at `started`. The first one is due as soon as the initial delay is over, and
    /// `spread` later where that was before `now`: whoever takes up many running containers at once gives each another one.
    pub fn new(purpose: Purpose, timing: Timing, started: Duration, now: Duration, spread: Duration) -> Self {
        // behaviour.md 19.3
        let verdict = match purpose {
            Purpose::Startup => Verdict::Unknown,
            Purpose::Liveness => Verdict::Success,
            Purpose::Readiness => Verdict::Failure,
        };
        let first = started.saturating_add(timing.initial_delay);
        let next = if first < now { now.saturating_add(spread) } else { first };
        Self { purpose, timing, verdict, decided: false, row: None, next: Some(next) }
    }

    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How long one attempt may take.
    pub fn timeout(&self) -> Duration {
        self.timing.timeout
    }

    /// When the next probe is due; never again once the verdict is final for this container.
    pub fn due(&self) -> Option<Duration> {
        self.next
    }

    /// What is believed now.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Takes the result of the probe that was due, `None` where it has none (behaviour.md 19.7). Tells a verdict that is
    /// news: another one than before, or the first that rests on results where something else than the beginning may be
    /// believed of the container, as after a restart of the daemon.
    ///
    /// A liveness failure and any startup decision are final: the next container has a worker of its own
    /// (behaviour.md 19.6).
    pub fn result(&mut self, success: Option<bool>, now: Duration) -> Option<bool> {
        let due = self.next?;
        self.next = Some(self.beat_after(due, now));
        let success = success?;
        let count = match self.row {
            Some((same, count)) if same == success => count.saturating_add(1),
            _ => 1,
        };
        self.row = Some((success, count));
        let threshold = if success { self.timing.success_threshold } else { self.timing.failure_threshold };
        if count < threshold {
            return None;
        }
        let verdict = if success { Verdict::Success } else { Verdict::Failure };
        let first = !std::mem::replace(&mut self.decided, true) && self.purpose == Purpose::Readiness;
        let changed = std::mem::replace(&mut self.verdict, verdict) != verdict;
        let last = match self.purpose {
            Purpose::Startup => true,
            Purpose::Liveness => !success,
            Purpose::Readiness => false,
        };
        if last {
            self.next = None;
        }
        (changed || first).then_some(success)
    }

    /// The beat after that of `due`. Where a probe took longer than a period, the latest beat that has passed: the next probe
    /// comes at once, and those after it keep to the beat.
    fn beat_after(&self, due: Duration, now: Duration) -> Duration {
        let period = self.timing.period;
        let passed = now.saturating_sub(due).as_nanos() / period.as_nanos().max(1);
        let beats = u64::try_from(passed).unwrap_or(u64::MAX).max(1);
        let nanos = period.as_nanos().saturating_mul(u128::from(beats));
        let ahead = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        due.saturating_add(ahead)
    }
}

#[cfg(test)]
mod tests;
