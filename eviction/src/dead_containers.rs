//! Which dead containers go where a limit is set for all of them, or where their room is needed (behaviour.md 40.2).
//!
//! How many each container of a pod keeps is the pod machine's affair; here is what needs more than one pod. The newest container of each
//! name stays with a pod that is not over, whatever is wanted: without it nobody would know that it has run.

use std::collections::BTreeMap;
use std::time::Duration;

/// A container that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The runtime's id.
    pub id: String,
    /// Its pod.
    pub uid: String,
    /// Its name in the pod's spec.
    pub name: String,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// No other container of its name in the pod is newer, dead or running.
    pub is_newest: bool,
    /// Nothing of its pod will run any more.
    pub is_over: bool,
}

impl Dead {
    fn may_go(&self) -> bool {
        self.is_over || !self.is_newest
    }
}

/// Ids of those that go so that at most `most` are left, the oldest first. Those younger than `min_age` at `now` (nanoseconds since
/// the epoch) do not count and stay.
///
/// Each container of each pod keeps equally many, at least one; where that is not enough the oldest of all go.
pub fn beyond(dead: &[Dead], most: usize, min_age: Duration, now: i64) -> Vec<String> {
    let min_age = i64::try_from(min_age.as_nanos()).unwrap_or(i64::MAX);
    let mut units: BTreeMap<(&str, &str), Vec<&Dead>> = BTreeMap::new();
    let mut count = 0;
    for one in dead.iter().filter(|d| now.saturating_sub(d.created_at) >= min_age) {
        units.entry((&one.uid, &one.name)).or_default().push(one);
        count += 1;
    }
    if count <= most {
        return Vec::new();
    }
    let each = (most / units.len().max(1)).max(1);
    let mut gone: Vec<&Dead> = Vec::new();
    let mut left: Vec<&Dead> = Vec::new();
    for mut unit in units.into_values() {
        unit.sort_by_key(|d| std::cmp::Reverse((d.is_newest, d.created_at)));
        gone.extend(unit.iter().skip(each).filter(|d| d.may_go()));
        left.extend(unit.iter().take(each));
    }
    left.sort_by_key(|d| d.created_at);
    let surplus = (count - gone.len()).saturating_sub(most);
    gone.extend(left.into_iter().filter(|d| d.may_go()).take(surplus));
    gone.sort_by_key(|d| d.created_at);
    gone.into_iter().map(|d| d.id.clone()).collect()
}

/// Ids of all that nobody needs, the oldest first.
pub fn needless(dead: &[Dead]) -> Vec<String> {
    let mut gone: Vec<&Dead> = dead.iter().filter(|d| d.may_go()).collect();
    gone.sort_by_key(|d| d.created_at);
    gone.into_iter().map(|d| d.id.clone()).collect()
}

#[cfg(test)]
mod tests;
