//! Thresholds as the configuration sets them (behaviour.md 29.1 to 29.3).

use std::collections::BTreeMap;

use podspec::Quantity;
use thiserror::Error;

use crate::signal::Signal;

/// How little may be left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So much of it.
    Quantity(Quantity),
    /// So many hundredths of the capacity, above 0 and below 100.
    Percent(f32),
}

impl Amount {
    /// The amount where there is `capacity` in all.
    pub fn of(&self, capacity: &Quantity) -> Quantity {
        match self {
            Self::Quantity(q) => *q,
            Self::Percent(p) => capacity.percent(*p),
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
}

/// A threshold that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ThresholdError {
    /// There is no such signal.
    #[error("unknown eviction signal {0:?}")]
    UnknownSignal(String),
    /// These follow from `nodefs` or `imagefs` and cannot be set.
    #[error("eviction signal {0} cannot be set: it follows from nodefs or imagefs")]
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
    /// A pair of a flag without `<`, or a signal twice.
    #[error("eviction threshold {0:?} is not of the form signal<value, each signal once")]
    BadPair(String),
}

const DEFAULTS: [(Signal, &str); 5] = [
    (Signal::MemoryAvailable, "100Mi"),
    (Signal::NodefsAvailable, "10%"),
    (Signal::NodefsInodesFree, "5%"),
    (Signal::ImagefsAvailable, "15%"),
    (Signal::ImagefsInodesFree, "5%"),
];

/// The hard thresholds in force. Any that are set replace all the defaults, unless `merge` keeps the others; `0%` and
/// `100%` switch one off.
pub fn hard_thresholds(
    set: &BTreeMap<String, String>,
    merge: bool,
) -> Result<Vec<Threshold>, ThresholdError> {
    let mut wanted: BTreeMap<Signal, String> = BTreeMap::new();
    if set.is_empty() || merge {
        wanted.extend(DEFAULTS.iter().map(|(s, v)| (*s, (*v).to_owned())));
    }
    for (name, value) in set {
        let signal: Signal = name.parse().map_err(|()| ThresholdError::UnknownSignal(name.clone()))?;
        if matches!(signal, Signal::ContainerfsAvailable | Signal::ContainerfsInodesFree) {
            return Err(ThresholdError::NotToBeSet(signal));
        }
        wanted.insert(signal, value.clone());
    }
    let mut thresholds = Vec::new();
    for (signal, value) in wanted {
        if let Some(amount) = amount(signal, &value)? {
            thresholds.push(Threshold { signal, amount });
        }
    }
    Ok(thresholds)
}

fn amount(signal: Signal, value: &str) -> Result<Option<Amount>, ThresholdError> {
    let bad = |why: &str| ThresholdError::BadAmount { signal, value: value.to_owned(), why: why.to_owned() };
    if let Some(percent) = value.strip_suffix('%') {
        let percent: f32 = percent.parse().map_err(|_| bad("not a percentage"))?;
        if percent == 0.0 || percent == 100.0 {
            return Ok(None);
        }
        if !(0.0..100.0).contains(&percent) {
            return Err(bad("must be from 0% to 100%"));
        }
        return Ok(Some(Amount::Percent(percent)));
    }
    let quantity: Quantity = value.parse().map_err(|e: podspec::QuantityError| bad(&e.to_string()))?;
    if quantity.is_negative() || quantity.is_zero() {
        return Err(bad("must be more than nothing"));
    }
    Ok(Some(Amount::Quantity(quantity)))
}

/// The pairs of a flag: `memory.available<100Mi,nodefs.available<10%`.
pub fn parse_pairs(text: &str) -> Result<BTreeMap<String, String>, ThresholdError> {
    let mut pairs = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (signal, value) = pair.split_once('<').ok_or_else(|| ThresholdError::BadPair(pair.to_owned()))?;
        if pairs.insert(signal.to_owned(), value.to_owned()).is_some() {
            return Err(ThresholdError::BadPair(pair.to_owned()));
        }
    }
    Ok(pairs)
}

/// What the hard thresholds take from `memory` and `ephemeral-storage` of a node with this capacity (behaviour.md 23.1).
pub fn reserved_by_hard_thresholds(
    thresholds: &[Threshold],
    capacity: &BTreeMap<String, Quantity>,
) -> BTreeMap<String, Quantity> {
    let mut reserved = BTreeMap::new();
    for threshold in thresholds {
        let resource = match threshold.signal {
            Signal::MemoryAvailable => "memory",
            Signal::NodefsAvailable => "ephemeral-storage",
            _ => continue,
        };
        if let Some(all) = capacity.get(resource) {
            reserved.insert(resource.to_owned(), threshold.amount.of(all));
        }
    }
    reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn any_setting_replaces_all_defaults_unless_they_are_merged() {
        let signals = |t: Vec<Threshold>| t.into_iter().map(|t| t.signal.name()).collect::<Vec<_>>();
        assert_eq!(hard_thresholds(&map(&[]), false).expect("defaults").len(), 5);
        let set = map(&[("memory.available", "200Mi")]);
        assert_eq!(signals(hard_thresholds(&set, false).expect("one")), ["memory.available"]);
        assert_eq!(hard_thresholds(&set, true).expect("merged").len(), 5);
        let off = map(&[("memory.available", "200Mi"), ("nodefs.available", "0%")]);
        assert_eq!(signals(hard_thresholds(&off, false).expect("one")), ["memory.available"]);
    }

    #[test]
    fn what_cannot_be_a_threshold_is_named() {
        for (key, value, says) in [
            ("memory.free", "1Gi", "unknown eviction signal \"memory.free\""),
            ("memory.available", "x", "memory.available"),
            ("memory.available", "-1Gi", "more than nothing"),
            ("nodefs.available", "110%", "from 0% to 100%"),
            ("containerfs.available", "10%", "cannot be set"),
        ] {
            let error = hard_thresholds(&map(&[(key, value)]), false).expect_err(key);
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(parse_pairs("memory.available=1Gi").is_err());
        assert_eq!(parse_pairs("memory.available<1Gi, pid.available<5%").expect("two").len(), 2);
    }

    /// Figures of kubelet-fixtures/node.json: 10 % of the disk and 100Mi of memory.
    #[test]
    fn hard_thresholds_are_taken_from_what_pods_may_have() {
        let capacity = BTreeMap::from([
            ("memory".to_owned(), "24684084Ki".parse().expect("a quantity")),
            ("ephemeral-storage".to_owned(), "264212084Ki".parse().expect("a quantity")),
        ]);
        let thresholds = hard_thresholds(&map(&[]), false).expect("defaults");
        let reserved = reserved_by_hard_thresholds(&thresholds, &capacity);
        assert_eq!(capacity["memory"].minus(&reserved["memory"]).to_string(), "24581684Ki");
        assert_eq!(
            capacity["ephemeral-storage"].minus(&reserved["ephemeral-storage"]).value(),
            243_497_856_212
        );
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        bolero::check!().with_type::<(String, String)>().for_each(|(key, value): &(String, String)| {
            let _ = hard_thresholds(&BTreeMap::from([(key.clone(), value.clone())]), false);
            let _ = parse_pairs(value);
        });
    }
}
