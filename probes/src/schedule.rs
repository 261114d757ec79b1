//! The deadlines of all probes of a node.
//!
//! ```text
//!   add --> waiting, by deadline --start--> under way --finish--> waiting again, or at rest until the next container
//!              ^ one line for each lane; a lane that is full lets nothing start, earliest deadline first once it has room
//! ```
//!
//! A probe never overlaps itself: it waits again only when it has finished.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use crate::worker::Worker;

/// Which bound a probe counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Connections.
    Network,
    /// Commands that the runtime runs.
    Exec,
}

/// How many probes of each lane may be under way at once; at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of [`Lane::Network`].
    pub network: usize,
    /// Of [`Lane::Exec`].
    pub exec: usize,
}

/// A probe that is to be started now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due<K> {
    /// Which.
    pub key: K,
    /// Of this start; to be given back to [`Schedule::finish`].
    pub start: u64,
    /// How long its time has passed.
    pub late: Duration,
}

#[derive(Debug)]
struct Entry {
    worker: Worker,
    lane: Lane,
    /// Where it waits; `None` while it is under way or at rest.
    place: Option<(Duration, u64)>,
    /// The start that is under way.
    started: Option<u64>,
}

#[derive(Debug)]
struct Line<K> {
    waiting: BTreeMap<(Duration, u64), K>,
    under_way: usize,
    most: usize,
}

/// See the module's page.
#[derive(Debug)]
pub struct Schedule<K> {
    entries: HashMap<K, Entry>,
    network: Line<K>,
    exec: Line<K>,
    /// Makes deadlines and starts differ.
    serial: u64,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// Without any probe.
    pub fn new(bounds: Bounds) -> Self {
        let line = |most: usize| Line { waiting: BTreeMap::new(), under_way: 0, most: most.max(1) };
        Self { entries: HashMap::new(), network: line(bounds.network), exec: line(bounds.exec), serial: 0 }
    }

    /// How many probes there are, waiting, under way or at rest.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a probe; one of the same key is replaced.
    pub fn add(&mut self, key: K, lane: Lane, worker: Worker) {
        self.remove(&key);
        self.entries.insert(key.clone(), Entry { worker, lane, place: None, started: None });
        self.enqueue(&key);
    }

    /// Forgets a probe; a start of it that is under way counts no more.
    pub fn remove(&mut self, key: &K) {
        let Some(entry) = self.entries.remove(key) else { return };
        let line = self.line(entry.lane);
        if let Some(place) = entry.place {
            line.waiting.remove(&place);
        }
        if entry.started.is_some() {
            line.under_way -= 1;
        }
    }

    /// When there is something to start next; `None` where nothing waits, or only for room.
    pub fn next(&self) -> Option<Duration> {
        let first = |line: &Line<K>| line.first().map(|(due, _)| due);
        [first(&self.network), first(&self.exec)].into_iter().flatten().min()
    }

    /// The probe whose time has come first, and has come.
    pub fn start(&mut self, now: Duration) -> Option<Due<K>> {
        let places = [(Lane::Network, self.network.first()), (Lane::Exec, self.exec.first())];
        let first =
            places.into_iter().filter_map(|(lane, place)| Some((place?, lane))).min_by_key(|(p, _)| *p);
        let (place, lane) = first.filter(|((due, _), _)| *due <= now)?;
        self.serial += 1;
        let start = self.serial;
        let line = self.line(lane);
        let key = line.waiting.remove(&place)?;
        line.under_way += 1;
        let entry = self.entries.get_mut(&key)?;
        entry.place = None;
        entry.started = Some(start);
        Some(Due { key, start, late: now.saturating_sub(place.0) })
    }

    /// Takes the result of a start; tells a verdict that is news (see [`Worker::result`]). A start that is under way no more is
    /// passed over.
    pub fn finish(&mut self, key: &K, start: u64, result: Option<bool>, now: Duration) -> Option<bool> {
        let entry = self.entries.get_mut(key).filter(|entry| entry.started == Some(start))?;
        entry.started = None;
        let told = entry.worker.result(result, now);
        let lane = entry.lane;
        self.line(lane).under_way -= 1;
        self.enqueue(key);
        told
    }

    /// The probe of `key`.
    pub fn worker(&self, key: &K) -> Option<&Worker> {
        self.entries.get(key).map(|entry| &entry.worker)
    }

    fn enqueue(&mut self, key: &K) {
        self.serial += 1;
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(due) = entry.worker.due() else { return };
        let place = (due, self.serial);
        entry.place = Some(place);
        let lane = entry.lane;
        self.line(lane).waiting.insert(place, key.clone());
    }

    fn line(&mut self, lane: Lane) -> &mut Line<K> {
        match lane {
            Lane::Network => &mut self.network,
            Lane::Exec => &mut self.exec,
        }
    }
}

impl<K> Line<K> {
    /// What waits first, where there is room for it.
    fn first(&self) -> Option<(Duration, u64)> {
        self.waiting.first_key_value().filter(|_| self.under_way < self.most).map(|(place, _)| *place)
    }
}

#[cfg(test)]
mod tests;
