//! Which pod has which range of ids; pure.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

/// Ranges are a multiple of this long, and so are their beginnings.
const UNIT: u32 = 65_536;

/// Why a pod cannot have a range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum RangeError {
    #[error("could not find an empty slot to allocate a user namespace")]
    Full,
    #[error("wrong user namespace length {0}")]
    Length(u32),
    #[error("wrong user namespace offset specified {0}")]
    Offset(u32),
    #[error("id {0} is out of range")]
    Outside(u32),
    #[error("range picked for pod {0:?} already taken")]
    Taken(String),
    #[error("different user namespace range already used by pod {0:?}")]
    Other(String),
}

/// Equal ranges, counted from the first.
#[derive(Debug)]
pub(super) struct Ranges {
    first: u32,
    count: u32,
    length: u32,
    by_pod: BTreeMap<String, u32>,
    taken: BTreeSet<u32>,
}

impl Ranges {
    /// Ranges of `length` ids in the `ids` from `first` on, at least `most_pods`.
    pub(super) fn new(first: u32, ids: u32, length: u32, most_pods: u32) -> Result<Self, String> {
        if length == 0 || !length.is_multiple_of(UNIT) {
            return Err(format!("kubelet user namespace length {length} is not a multiple of {UNIT}"));
        }
        if !first.is_multiple_of(length) {
            return Err(format!("kubelet user assigned ID {first} is not a multiple of {length}"));
        }
        if first < length {
            // The node's own ids, root among them.
            return Err(format!("kubelet user assigned ID {first} must be greater or equal to {length}"));
        }
        if !ids.is_multiple_of(length) {
            return Err(format!("kubelet user assigned IDs length {ids} is not a multiple of {length}"));
        }
        if u64::from(first) + u64::from(ids) > 1 << 32 {
            return Err(format!("kubelet user assigned IDs {first} and {ids} more are no ids"));
        }
        let count = ids / length;
        if count < most_pods {
            return Err(format!("kubelet user assigned IDs are not enough to support {most_pods} pods"));
        }
        Ok(Self { first, count, length, by_pod: BTreeMap::new(), taken: BTreeSet::new() })
    }

    /// The range of a pod, a new one where it has none: its first id.
    pub(super) fn allocate(&mut self, pod: &str) -> Result<u32, RangeError> {
        if let Some(index) = self.by_pod.get(pod) {
            return Ok(self.id(*index));
        }
        let free = (0..self.count).find(|index| !self.taken.contains(index)).ok_or(RangeError::Full)?;
        self.taken.insert(free);
        self.by_pod.insert(pod.to_owned(), free);
        Ok(self.id(free))
    }

    /// What a pod has had before.
    pub(super) fn record(&mut self, pod: &str, first: u32, length: u32) -> Result<(), RangeError> {
        if length != self.length {
            return Err(RangeError::Length(length));
        }
        if !first.is_multiple_of(self.length) {
            return Err(RangeError::Offset(first));
        }
        let index = first.checked_sub(self.first).map(|ids| ids / self.length);
        let index = index.filter(|index| *index < self.count).ok_or(RangeError::Outside(first))?;
        match self.by_pod.get(pod) {
            Some(before) if *before == index => return Ok(()),
            Some(_) => return Err(RangeError::Other(pod.to_owned())),
            None => {}
        }
        if !self.taken.insert(index) {
            return Err(RangeError::Taken(pod.to_owned()));
        }
        self.by_pod.insert(pod.to_owned(), index);
        Ok(())
    }

    pub(super) fn release(&mut self, pod: &str) {
        if let Some(index) = self.by_pod.remove(pod) {
            self.taken.remove(&index);
        }
    }

    fn id(&self, index: u32) -> u32 {
        self.first + index * self.length
    }
}

/// `0: kubelet 65536 7208960`: the first id, and how many there are; one line only.
pub(super) fn parse_getsubids(text: &str) -> Result<(u32, u32), String> {
    let text = text.trim();
    let wrong = || format!("the output of getsubids is not one line of a range: {text:?}");
    if text.lines().count() != 1 {
        return Err(wrong());
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, _, first, count] = words.as_slice() else { return Err(wrong()) };
    let number = |word: &str| word.parse::<u32>().map_err(|_| wrong());
    Ok((number(first)?, number(count)?))
}
