//! The cache's content and what follows from it; no waiting, no I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::Limits;
use super::event::{Event, EventKind};
use super::object::Object;
use crate::store::{Change, Content};

/// How many of a resource's last events keep what watchers share ([`Event::cool`]).
const WARM_EVENTS: usize = 128;

/// All resources at one revision.
#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    revision: u64,
    /// The floor of a resource that has had no event.
    floor: u64,
    resources: HashMap<Box<str>, Resource>,
}

/// The objects of one resource, and how they came to be.
#[derive(Debug)]
struct Resource {
    objects: BTreeMap<Arc<str>, Arc<Object>>,
    window: Window,
    wake: watch::Sender<u64>,
    /// When any of the objects changed last.
    changed_at: u64,
}

/// The last events of a resource in the order of their revisions.
#[derive(Debug)]
struct Window {
    limits: Limits,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// All events above this revision are here.
    floor: u64,
}

/// Whom to wake when the lock is released.
#[derive(Debug, Default)]
pub(super) struct Wakes(Vec<watch::Sender<u64>>);

impl Wakes {
    pub(super) fn wake(self, revision: u64) {
        for sender in self.0 {
            sender.send_replace(revision);
        }
    }
}

/// The resource of a key or a prefix: what stands before the first `/`.
fn resource_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(resource, _)| resource)
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, revision: 0, floor: 0, resources: HashMap::new() }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Replaces everything. Watchers go on if the new history reaches back to where they are.
    pub(super) fn load(&mut self, content: Content) {
        let Content { revision, records, floor, changes } = content;
        self.revision = revision;
        self.floor = floor;
        for resource in self.resources.values_mut() {
            resource.objects.clear();
            resource.window = Window::new(self.limits, floor);
            resource.changed_at = revision;
        }
        for change in changes {
            let resource = self.resource(resource_of(&change.key));
            resource.apply(change);
        }
        // The records are the truth; what the changes left is shared with them where it is the same.
        let mut replayed: HashMap<Arc<str>, Arc<Object>> = HashMap::new();
        for resource in self.resources.values_mut() {
            replayed.extend(std::mem::take(&mut resource.objects));
        }
        for (key, record) in records {
            let object = match replayed.remove(&key) {
                Some(object) if object.revision() == record.mod_revision => object,
                _ => Arc::new(Object::new(key.clone(), record)),
            };
            self.resource(resource_of(&key)).objects.insert(key, object);
        }
    }

    /// Applies the writes of one commit and says whom to wake.
    pub(super) fn apply(&mut self, changes: Vec<Change>) -> Wakes {
        let mut touched: Vec<Box<str>> = Vec::new();
        for change in changes {
            self.revision = self.revision.max(change.revision);
            let key = change.key.clone();
            let name = resource_of(&key);
            if !touched.iter().any(|t| **t == *name) {
                touched.push(name.into());
            }
            self.resource(name).apply(change);
        }
        Wakes(touched.iter().filter_map(|name| self.resources.get(name)).map(|r| r.wake.clone()).collect())
    }

    pub(super) fn all_wakes(&self) -> Wakes {
        Wakes(self.resources.values().map(|r| r.wake.clone()).collect())
    }

    pub(super) fn subscribe(&mut self, prefix: &str) -> watch::Receiver<u64> {
        self.resource(resource_of(prefix)).wake.subscribe()
    }

    /// The revision of the last change of a resource, or one above it.
    pub(super) fn changed_at(&self, prefix: &str) -> u64 {
        self.resources.get(resource_of(prefix)).map_or(self.floor, |r| r.changed_at)
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.resources.get(resource_of(key))?.objects.get(key).cloned()
    }

    /// All objects below a prefix, after a key, in key order.
    pub(super) fn objects(&self, prefix: &str, after: Option<&str>) -> Vec<Arc<Object>> {
        match self.resources.get(resource_of(prefix)) {
            Some(resource) => resource.range(prefix, after).map(|(_, object)| object.clone()).collect(),
            None => Vec::new(),
        }
    }

    /// As [`State::objects`], as they were at a revision that is not in the future. `Err` is the floor, if it is no longer known.
    pub(super) fn objects_at(
        &self,
        prefix: &str,
        after: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Object>>, u64> {
        let floor = self.floor(prefix);
        if revision < floor {
            return Err(floor);
        }
        let Some(resource) = self.resources.get(resource_of(prefix)) else { return Ok(Vec::new()) };
        let since = resource.window.after(revision, prefix);
        if since.clone().next().is_none() {
            return Ok(self.objects(prefix, after));
        }
        let mut objects: BTreeMap<&str, &Arc<Object>> =
            resource.range(prefix, after).map(|(key, object)| (&**key, object)).collect();
        for event in since.rev() {
            let key = &**event.key();
            if after.is_some_and(|after| key <= after) {
                continue;
            }
            match event.previous() {
                Some(previous) => objects.insert(key, previous),
                None => objects.remove(key),
            };
        }
        Ok(objects.into_values().cloned().collect())
    }

    /// Changes of a resource above this revision are known.
    pub(super) fn floor(&self, prefix: &str) -> u64 {
        self.resources.get(resource_of(prefix)).map_or(self.floor, |r| r.window.floor)
    }

    /// The first events below a prefix above a revision, and the revision up to which they are complete. `Err` is the floor.
    pub(super) fn pull(
        &self,
        prefix: &str,
        position: u64,
        limit: usize,
    ) -> Result<(Vec<Arc<Event>>, u64), u64> {
        let floor = self.floor(prefix);
        if position < floor {
            return Err(floor);
        }
        let Some(resource) = self.resources.get(resource_of(prefix)) else {
            return Ok((Vec::new(), position.max(self.revision)));
        };
        let events: Vec<_> = resource.window.after(position, prefix).take(limit).cloned().collect();
        let complete = match events.last() {
            Some(last) if events.len() == limit => last.revision(),
            _ => position.max(self.revision),
        };
        Ok((events, complete))
    }

    fn resource(&mut self, name: &str) -> &mut Resource {
        // Looked up by `&str` first: nearly always it is there.
        if !self.resources.contains_key(name) {
            let resource = Resource {
                objects: BTreeMap::new(),
                window: Window::new(self.limits, self.floor),
                wake: watch::Sender::new(self.revision),
                changed_at: self.revision,
            };
            self.resources.insert(name.into(), resource);
        }
        self.resources.get_mut(name).expect("it was inserted if it was not there")
    }
}

impl Resource {
    fn apply(&mut self, change: Change) {
        self.changed_at = self.changed_at.max(change.revision);
        let previous = self.objects.get(&change.key).cloned();
        let Some(event) = Event::new(change, previous) else { return };
        match event.kind() {
            EventKind::Deleted => {
                self.objects.remove(event.key());
            }
            EventKind::Added | EventKind::Modified => {
                self.objects.insert(event.key().clone(), event.object().clone());
            }
        }
        self.window.push(Arc::new(event));
    }

    fn range(&self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = (&Arc<str>, &Arc<Object>)> {
        let start = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        self.objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}

impl Window {
    fn new(limits: Limits, floor: u64) -> Self {
        Self { limits, events: VecDeque::new(), bytes: 0, floor }
    }

    fn push(&mut self, event: Arc<Event>) {
        debug_assert!(self.events.back().is_none_or(|last| last.revision() < event.revision()));
        self.bytes += event.weight_bytes();
        self.events.push_back(event);
        while self.events.len() > self.limits.events
            || (self.bytes > self.limits.bytes && self.events.len() > 1)
        {
            let Some(gone) = self.events.pop_front() else { break };
            self.bytes -= gone.weight_bytes();
            self.floor = gone.revision();
        }
        if let Some(cooling) = self.events.len().checked_sub(WARM_EVENTS + 1) {
            self.events[cooling].cool();
        }
    }

    /// The events below a prefix above a revision.
    fn after<'a>(
        &'a self,
        revision: u64,
        prefix: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Event>> + Clone + 'a {
        let first = self.events.partition_point(|e| e.revision() <= revision);
        self.events.range(first..).filter(move |e| e.key().starts_with(prefix))
    }
}

#[cfg(test)]
mod tests;
