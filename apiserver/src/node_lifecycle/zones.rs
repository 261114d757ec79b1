//! How fast nodes that have failed are given up: when many fail at once, the cause is more likely in between than in all of them. Pure;
//! zones and numbers are upstream's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// A zone with this share of nodes that are not ready, in hundredths, and with more than two of them, is disturbed.
const DISTURBED_PERCENT: usize = 55;
const DISTURBED_LEAST: usize = 3;
/// In a disturbed zone of more nodes than this, nodes are still given up, but slowly; in a smaller one not at all.
const LARGE_ZONE: usize = 50;
/// Time between two nodes of a zone.
const USUAL: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(100);

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing<'a> {
    pub(super) zone: &'a str,
    pub(super) ready: bool,
    /// Whether it has ever told whether it is ready.
    pub(super) spoken: bool,
    /// Whether pods are being taken off it already.
    pub(super) given_up: bool,
}

/// Whether pods are to be taken off a node that is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evicting {
    /// Not from this one; what was begun is taken back.
    Never,
    /// It is not this one's turn.
    NotYet,
    Now,
}

impl Evicting {
    pub(super) const ALL: [Self; 3] = [Self::Never, Self::NotYet, Self::Now];
}

/// What is to be done with all nodes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    now: BTreeSet<String>,
    /// No node is ready: it is rather this server that is cut off.
    nobody: bool,
    /// Some node is ready again after none was: all have their whole time again.
    pub(super) begins_again: bool,
}

impl GivenUp {
    pub(super) fn of(&self, node: &str) -> Evicting {
        match (self.nobody, self.now.contains(node)) {
            (true, _) => Evicting::Never,
            (false, true) => Evicting::Now,
            (false, false) => Evicting::NotYet,
        }
    }
}

/// When a node of each zone was given up last.
#[derive(Debug, Default)]
pub(super) struct Zones {
    last: BTreeMap<String, Instant>,
    nobody_was: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    ready: usize,
    other: usize,
}

impl Count {
    /// Time between two nodes; `None` if none is to be given up.
    fn pace(self) -> Option<Duration> {
        let all = self.ready + self.other;
        let disturbed =
            self.ready > 0 && self.other >= DISTURBED_LEAST && self.other * 100 >= all * DISTURBED_PERCENT;
        match (disturbed, all > LARGE_ZONE) {
            (false, _) => Some(USUAL),
            (true, true) => Some(SLOW),
            (true, false) => None,
        }
    }
}

impl Zones {
    /// Chooses the nodes that are given up now, at most one of a zone.
    pub(super) fn given_up(&mut self, nodes: &[(&str, Standing<'_>)], now: Instant) -> GivenUp {
        let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
        for (_, node) in nodes {
            let count = counts.entry(node.zone).or_default();
            if node.ready { count.ready += 1 } else { count.other += 1 }
        }
        let nobody = !counts.is_empty() && counts.values().all(|count| count.ready == 0);
        let begins_again = self.nobody_was && !nobody;
        self.nobody_was = nobody;
        self.last.retain(|zone, _| counts.contains_key(zone.as_str()));
        let mut chosen = BTreeSet::new();
        if nobody || begins_again {
            return GivenUp { now: chosen, nobody, begins_again };
        }
        let mut waiting: Vec<_> =
            nodes.iter().filter(|(_, node)| node.spoken && !node.ready && !node.given_up).collect();
        waiting.sort_unstable_by_key(|(name, _)| *name);
        for (name, node) in waiting {
            let Some(pace) = counts.get(node.zone).and_then(|count| count.pace()) else { continue };
            let last = self.last.get(node.zone);
            if last.is_none_or(|last| now.duration_since(*last) >= pace) {
                self.last.insert(node.zone.to_owned(), now);
                chosen.insert((*name).to_owned());
            }
        }
        GivenUp { now: chosen, nobody, begins_again }
    }
}

#[cfg(test)]
mod tests;
