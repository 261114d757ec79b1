//! Periods below a second, which the API's whole seconds cannot say: an annotation of the pod (pains.md 10).
//!
//! ```text
//! nodelet.dev/probe-periods: "web/readiness=100ms, web/liveness=500ms"
//! ```

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::worker::Purpose;

/// The annotation's key.
pub const ANNOTATION: &str = "nodelet.dev/probe-periods";

/// The shortest period there is.
pub const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// Entries of one annotation: more than the three probes of so many containers has no pod.
const MOST: usize = 384;

/// Why the annotation cannot be carried out; none of it is then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodError {
    entry: String,
    why: &'static str,
}

impl std::fmt::Display for PeriodError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "annotation {ANNOTATION}: {:?}: {}", self.entry, self.why)
    }
}

impl std::error::Error for PeriodError {}

/// What the annotation says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Periods(Vec<(String, Purpose, Duration)>);

impl Periods {
    /// Of `pod`; without the annotation there are none.
    ///
    /// # Errors
    /// The first entry that makes no sense.
    pub fn of(pod: &Pod) -> Result<Self, PeriodError> {
        let text = pod.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        text.map_or_else(|| Ok(Self::default()), |text| Self::parse(text))
    }

    /// Reads the annotation's value.
    ///
    /// # Errors
    /// The first entry that makes no sense.
    pub fn parse(text: &str) -> Result<Self, PeriodError> {
        let mut all = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let wrong = |why| PeriodError { entry: entry.chars().take(100).collect(), why };
            let (probe, period) = entry.split_once('=').ok_or_else(|| wrong("no CONTAINER/PROBE=PERIOD"))?;
            let (container, purpose) =
                probe.trim().split_once('/').ok_or_else(|| wrong("no CONTAINER/PROBE=PERIOD"))?;
            let purpose = match purpose {
                "startup" => Purpose::Startup,
                "liveness" => Purpose::Liveness,
                "readiness" => Purpose::Readiness,
                _ => return Err(wrong("the probe is none of startup, liveness, readiness")),
            };
            let millis = period.trim().strip_suffix("ms").filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
            let millis =
                millis.and_then(|n| n.parse().ok()).ok_or_else(|| wrong("the period is no number of ms"))?;
            let period = Duration::from_millis(millis);
            if period < SHORTEST_PERIOD || period >= Duration::from_secs(1) {
                return Err(wrong("the period is not from 100ms to 999ms"));
            }
            if all.len() == MOST {
                return Err(wrong("one entry too many"));
            }
            all.push((container.to_owned(), purpose, period));
        }
        Ok(Self(all))
    }

    /// Of this probe of `container`, where there is one; of several the last.
    pub fn get(&self, container: &str, purpose: Purpose) -> Option<Duration> {
        let found = self.0.iter().rev().find(|(name, of, _)| name == container && *of == purpose);
        found.map(|(_, _, period)| *period)
    }
}

#[cfg(test)]
mod tests;
