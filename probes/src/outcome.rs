//! What one attempt has shown.

/// The end of an attempt; texts are for people, and part of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passes.
    Success,
    /// It passes, and there is something to be said about it.
    Warning(String),
    /// It fails.
    Failure(String),
    /// It could not be found out; such an attempt has no result (behaviour.md 19.7).
    Error {
        /// What a kubelet's event says that it resulted in: `unknown` or `failure`.
        state: &'static str,
        /// Why.
        message: String,
    },
}

impl Outcome {
    /// Nothing is known.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::Error { state: "unknown", message: message.into() }
    }

    /// The result, where there is one.
    pub fn result(&self) -> Option<bool> {
        match self {
            Self::Success | Self::Warning(_) => Some(true),
            Self::Failure(_) => Some(false),
            Self::Error { .. } => None,
        }
    }

    /// Reason and message of the event that it is worth, of the probe that events call `name` (behaviour.md 19.8).
    pub fn event(&self, name: &str) -> Option<(&'static str, String)> {
        match self {
            Self::Success => None,
            Self::Warning(said) => Some(("ProbeWarning", format!("{name} probe warning: {said}"))),
            Self::Failure(said) => Some(("Unhealthy", format!("{name} probe failed: {said}"))),
            Self::Error { state, message } => {
                Some(("Unhealthy", format!("{name} probe errored and resulted in {state} state: {message}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_19_8_each_outcome_has_a_kubelets_event() {
        let warning = Outcome::Warning("Probe terminated redirects".to_owned());
        let failure = Outcome::Failure("HTTP probe failed with statuscode: 500".to_owned());
        let cases = [
            (Outcome::Success, Some(true), None),
            (
                warning,
                Some(true),
                Some(("ProbeWarning", "Liveness probe warning: Probe terminated redirects")),
            ),
            (
                failure,
                Some(false),
                Some(("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500")),
            ),
            (
                Outcome::unknown("no port"),
                None,
                Some(("Unhealthy", "Liveness probe errored and resulted in unknown state: no port")),
            ),
        ];
        for (outcome, result, event) in cases {
            assert_eq!(outcome.result(), result);
            let told = outcome.event("Liveness");
            assert_eq!(told.as_ref().map(|(reason, message)| (*reason, message.as_str())), event);
        }
    }
}
