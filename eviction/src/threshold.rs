//! Thresholds as the configuration sets them (behaviour.md 29.1 to 29.4).
//!
//! Defaults are the configuration's business: what comes here is what is in force.

use std::collections::BTreeMap;
use std::time::Duration;

use podspec::Quantity;
use thiserror::Error;

use crate::observation::Left;
use crate::signal::Signal;

/// A part of what there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So much of it.
    Quantity(Quantity),
    /// So many hundredths of the capacity, above 0 and below 100.
    Percent(f32),
}

impl Amount {
    /// `10%` or `100Mi`; `None` for what switches a threshold off: `0%`, `100%` and nothing.
    ///
    /// # Errors
    /// It is neither, or less than nothing; the text says what is wrong.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f32 = percent.parse().map_err(|_| "not a percentage".to_owned())?;
            if percent == 0.0 || percent == 100.0 {
                return Ok(None);
            }
            if !(0.0..100.0).contains(&percent) {
                return Err("must be from 0% to 100%".to_owned());
            }
            return Ok(Some(Self::Percent(percent)));
        }
        let quantity: Quantity = text.parse().map_err(|e: podspec::QuantityError| e.to_string())?;
        if quantity.is_negative() {
            return Err("must not be less than nothing".to_owned());
        }
        Ok((!quantity.is_zero()).then_some(Self::Quantity(quantity)))
    }

    /// The amount where there is `capacity` in all. A percentage is a number of single precision, as a kubelet's is.
    pub fn of(&self, capacity: u64) -> u64 {
        match self {
            Self::Quantity(quantity) => u64::try_from(quantity.value()).unwrap_or(0),
            Self::Percent(percent) => (capacity as f64 * f64::from(percent / 100.0)) as u64,
        }
    }
}

/// Below this the node is under pressure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// What is watched.
    pub signal: Signal,
    /// How little may be left.
    pub amount: Amount,
    /// How long less may be left before anything is done about it; none for a hard threshold, and one without grace is hard.
    pub grace: Option<Duration>,
    /// How much more has to be left before it counts as no longer met.
    pub reclaim: Option<Amount>,
}

impl Threshold {
    /// How much has to be left of so much; more where it has been met already.
    pub(crate) fn demand(&self, capacity: u64, again: bool) -> u64 {
        let least = self.amount.of(capacity);
        let more = self.reclaim.filter(|_| again).map_or(0, |amount| amount.of(capacity));
        least.saturating_add(more)
    }

    /// Whether too little is left.
    pub(crate) fn is_met(&self, left: Left, again: bool) -> bool {
        left.available < self.demand(left.capacity, again)
    }

    /// How much is demanded where there is `capacity`, in a kubelet's words.
    pub(crate) fn told(&self, capacity: u64) -> Quantity {
        match self.amount {
            Amount::Quantity(quantity) => quantity,
            Amount::Percent(_) => Quantity::from_bytes(self.amount.of(capacity)),
        }
    }
}

/// A threshold that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ThresholdError {
    /// There is no such signal.
    #[error("unknown eviction signal {0:?}")]
    UnknownSignal(String),
    /// These follow from others and cannot be set.
    #[error("eviction signal {0} cannot be set")]
    NotToBeSet(Signal),
    /// Neither a quantity nor a percentage.
    #[error("eviction threshold {value:?} of {signal}: {why}")]
    BadAmount {
        /// The signal.
        signal: Signal,
        /// As written.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// A soft threshold for which nobody has said how long it may be met.
    #[error("eviction signal {0} is soft and has no grace period")]
    NoGrace(Signal),
}

/// What the configuration says, by the names of signals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// `evictionHard`, defaults included where they count.
    pub hard: BTreeMap<String, String>,
    /// `evictionSoft`.
    pub soft: BTreeMap<String, String>,
    /// `evictionSoftGracePeriod`.
    pub soft_grace: BTreeMap<String, Duration>,
    /// `evictionMinimumReclaim`.
    pub minimum_reclaim: BTreeMap<String, String>,
    /// Whether what all pods together may have of memory is limited (`enforceNodeAllocatable` has `pods`): it gets the hard threshold
    /// of memory.
    pub pods_are_limited: bool,
    /// Percent of the time in which work may wait for memory: nodelet's own.
    pub most_stalled: Option<f32>,
}

/// The thresholds in force, in the order in which they are acted upon.
///
/// # Errors
/// One of them cannot be used.
pub fn thresholds(given: &Given) -> Result<Vec<Threshold>, ThresholdError> {
    let reclaim = amounts(&given.minimum_reclaim)?;
    let mut all = Vec::new();
    for (signal, amount) in amounts(&given.hard)? {
        let threshold = Threshold { signal, amount, grace: None, reclaim: reclaim.get(&signal).copied() };
        all.push(threshold);
        if signal == Signal::MemoryAvailable && given.pods_are_limited {
            all.push(Threshold { signal: Signal::AllocatableMemoryAvailable, ..threshold });
        }
    }
    for (signal, amount) in amounts(&given.soft)? {
        let grace = *given.soft_grace.get(signal.name()).ok_or(ThresholdError::NoGrace(signal))?;
        let grace = Some(grace).filter(|grace| !grace.is_zero());
        all.push(Threshold { signal, amount, grace, reclaim: reclaim.get(&signal).copied() });
    }
    if let Some(percent) = given.most_stalled {
        let amount = Amount::Percent(100.0 - percent);
        all.push(Threshold { signal: Signal::MemoryUnstalled, amount, grace: None, reclaim: None });
    }
    // What the containers' layers may leave of a file system of their own is not set: it is what is set for images.
    let copies: Vec<Threshold> = all.iter().filter_map(on_container_filesystem).collect();
    all.extend(copies);
    all.sort_by_key(|threshold| (threshold.signal, threshold.grace.is_some()));
    Ok(all)
}

fn on_container_filesystem(threshold: &Threshold) -> Option<Threshold> {
    let signal = match threshold.signal {
        Signal::ImagefsAvailable => Signal::ContainerfsAvailable,
        Signal::ImagefsInodesFree => Signal::ContainerfsInodesFree,
        _ => return None,
    };
    Some(Threshold { signal, ..*threshold })
}

fn amounts(texts: &BTreeMap<String, String>) -> Result<BTreeMap<Signal, Amount>, ThresholdError> {
    let mut amounts = BTreeMap::new();
    for (name, value) in texts {
        let signal: Signal = name.parse().map_err(|()| ThresholdError::UnknownSignal(name.clone()))?;
        if matches!(
            signal,
            Signal::ContainerfsAvailable
                | Signal::ContainerfsInodesFree
                | Signal::AllocatableMemoryAvailable
                | Signal::MemoryUnstalled
        ) {
            return Err(ThresholdError::NotToBeSet(signal));
        }
        let amount = Amount::parse(value).map_err(|why| ThresholdError::BadAmount {
            signal,
            value: value.clone(),
            why,
        })?;
        amounts.extend(amount.map(|amount| (signal, amount)));
    }
    Ok(amounts)
}

#[cfg(test)]
mod tests;
