//! What to do about a certificate: a pure function of what is on the disk and the time. behaviour.md 34.1, 34.2.
//!
//! ```text
//!            not_before        70 to 90 % of the lifetime        not_after
//! ───────────────┼───────────────────────┼───────────────────────────┼──────────>
//!  clock is wrong │         keep          │           renew           │ bootstrap again, or stuck
//! ```

use jiff::{SignedDuration, Timestamp};

use super::identity::Validity;

/// A certificate is renewed after this part of its lifetime at the earliest,
const EARLIEST: f64 = 0.7;
/// and this much more of it later at the latest.
const SPREAD: f64 = 0.2;

/// What the node can show to the API server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Held {
    /// Nothing, and why.
    Nothing(String),
    /// A token, or nothing that runs out as far as can be seen.
    Token,
    Certificate {
        validity: Validity,
        /// From 0 to below 1.
        spread: f64,
        /// It was put into the kubeconfig by somebody else; the node replaces it by one that it asked for itself.
        provisional: bool,
    },
}

/// All that a plan depends on, but for the time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Situation {
    pub(crate) held: Held,
    /// Where a first certificate can be asked for is known.
    pub(crate) can_bootstrap: bool,
    /// `rotateCertificates`.
    pub(crate) rotates: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// What is held is used; nothing is due until then, if ever.
    Keep { until: Option<Timestamp> },
    /// What is held is used although the clock says that it is not valid yet: asking for another would not help.
    Distrust { why: String },
    /// What is held is used to ask for its successor.
    Renew,
    /// What is held is of no use: a first certificate is asked for.
    Bootstrap { why: String },
    /// Nothing can be done on this machine alone.
    Stuck { why: String },
}

/// When a certificate is renewed: between 70 and 90 % of its lifetime.
pub(crate) fn renewal(validity: Validity, spread: f64) -> Timestamp {
    let lifetime = validity.not_after.duration_since(validity.not_before).max(SignedDuration::ZERO);
    let part = SPREAD.mul_add(spread.clamp(0.0, 1.0), EARLIEST);
    // Certificates count in seconds.
    let wait = SignedDuration::from_secs((lifetime.as_secs_f64() * part).round() as i64);
    validity.not_before.checked_add(wait).unwrap_or(validity.not_after)
}

/// What to do now.
pub(crate) fn plan(situation: &Situation, now: Timestamp) -> Step {
    let without = |why: String| {
        if situation.can_bootstrap { Step::Bootstrap { why } } else { Step::Stuck { why } }
    };
    match &situation.held {
        Held::Nothing(why) => without(why.clone()),
        Held::Token => Step::Keep { until: None },
        Held::Certificate { validity, .. } if now >= validity.not_after => without(format!(
            "the client certificate expired at {}, and this machine's clock shows {}",
            seconds(validity.not_after),
            seconds(now)
        )),
        Held::Certificate { validity, .. } if now < validity.not_before => Step::Distrust {
            why: format!(
                "the client certificate is valid from {} and this machine's clock shows {}: the clock is probably wrong",
                seconds(validity.not_before),
                seconds(now)
            ),
        },
        Held::Certificate { .. } if !situation.rotates => Step::Keep { until: None },
        Held::Certificate { provisional: true, .. } => Step::Renew,
        Held::Certificate { validity, spread, .. } => match renewal(*validity, *spread) {
            due if due <= now => Step::Renew,
            due => Step::Keep { until: Some(due) },
        },
    }
}

/// What to do about the serving certificate: `held` is what is there and the names in it, `wanted` what it has to name.
pub(crate) fn plan_serving(
    held: Option<(Validity, f64, &[String])>,
    wanted: &[String],
    now: Timestamp,
) -> Serving {
    let Some((validity, spread, names)) = held else {
        return Serving::Ask { why: "there is none yet".to_owned() };
    };
    if let Some(missing) = wanted.iter().find(|name| !names.contains(name)) {
        return Serving::Ask { why: format!("the one in use is not made out to {missing}") };
    }
    match renewal(validity, spread) {
        _ if now >= validity.not_after => {
            Serving::Ask { why: format!("the one in use expired at {}", seconds(validity.not_after)) }
        }
        due if due <= now => {
            Serving::Ask { why: format!("the one in use expires at {}", seconds(validity.not_after)) }
        }
        due => Serving::Keep { until: due },
    }
}

/// See [`plan_serving`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Serving {
    Keep { until: Timestamp },
    Ask { why: String },
}

/// Whole seconds: fractions of one in a message help nobody.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
