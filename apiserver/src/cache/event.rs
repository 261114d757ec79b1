//! A change as watchers see it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;

use super::object::Object;
use crate::store::Change;

/// The type of a watch event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// As it stands in the event's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// What a watcher with a selector sees of an event.
#[derive(Debug, Clone)]
pub struct Sight {
    pub kind: EventKind,
    /// For `Deleted` the last version that the watcher could see, with the revision of the event.
    pub object: Arc<Object>,
}

/// One change, shared by all watchers. Whatever is computed from it is computed once while the event is recent.
pub struct Event {
    kind: EventKind,
    /// For a deletion the last version, with the deletion's revision.
    object: Arc<Object>,
    previous: Option<Arc<Object>>,
    warm: Mutex<Warm>,
}

/// What watchers share while an event is recent. Dropped when it is not, so that the window holds bytes only.
#[derive(Default)]
struct Warm {
    cold: bool,
    value: Option<Arc<Value>>,
    previous_value: Option<Arc<Value>>,
    /// Serialised events by type and form.
    encoded: Vec<((EventKind, u64), Bytes)>,
}

/// Serialised forms kept per event: the types of a few API versions and of tables.
const ENCODED_FORMS: usize = 8;

impl Event {
    /// `None` for a change that has neither a before nor an after, which no store makes.
    pub(crate) fn new(change: Change, previous: Option<Arc<Object>>) -> Option<Self> {
        let Change { revision, key, before, after } = change;
        let previous = previous
            .filter(|p| before.as_ref().is_some_and(|b| b.mod_revision == p.revision()))
            .or_else(|| before.map(|record| Arc::new(Object::new(key.clone(), record))));
        let (kind, object) = match (after, &previous) {
            (Some(record), None) => (EventKind::Added, Arc::new(Object::new(key, record))),
            (Some(record), Some(_)) => (EventKind::Modified, Arc::new(Object::new(key, record))),
            (None, Some(last)) => (EventKind::Deleted, Arc::new(last.at(revision))),
            (None, None) => return None,
        };
        Some(Self { kind, object, previous, warm: Mutex::default() })
    }

    /// What happened to the key, for a watcher without a selector.
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    pub fn revision(&self) -> u64 {
        self.object.revision()
    }

    pub fn key(&self) -> &Arc<str> {
        self.object.key()
    }

    /// The new version; for a deletion the last version, with the deletion's revision.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The version before, with its own revision.
    pub fn previous(&self) -> Option<&Arc<Object>> {
        self.previous.as_ref()
    }

    /// The event for a watcher who sees only objects that `matches` accepts: an object that comes into sight is added, one that
    /// goes out of sight is deleted. `None` if there is nothing to see.
    pub fn seen_by(&self, matches: impl Fn(&Value) -> bool) -> Option<Sight> {
        let now = self.kind != EventKind::Deleted && matches(&self.value());
        let before = match &self.previous {
            Some(previous) => matches(&self.previous_value(previous)),
            None => false,
        };
        let kind = sight(before, now)?;
        let object = match (kind, self.kind, &self.previous) {
            (EventKind::Deleted, EventKind::Modified, Some(previous)) => {
                Arc::new(previous.at(self.revision()))
            }
            _ => self.object.clone(),
        };
        Some(Sight { kind, object })
    }

    /// The event without a selector.
    pub fn seen_by_all(&self) -> Sight {
        Sight { kind: self.kind, object: self.object.clone() }
    }

    /// The bytes of the event in a form that the caller numbers (an API version, a table, ...), made by the first watcher that
    /// asks and shared by the others while the event is recent. `sight` is one that this event gave.
    pub fn encoded(&self, form: u64, sight: &Sight, encode: impl FnOnce(&Sight) -> Bytes) -> Bytes {
        let tag = (sight.kind, form);
        // Encoding under the lock: the watchers that wait would otherwise all encode the same.
        let mut warm = self.warm();
        if let Some((_, bytes)) = warm.encoded.iter().find(|(t, _)| *t == tag) {
            return bytes.clone();
        }
        let bytes = encode(sight);
        if !warm.cold && warm.encoded.len() < ENCODED_FORMS {
            warm.encoded.push((tag, bytes.clone()));
        }
        bytes
    }

    /// Bytes that the event keeps in memory beyond its predecessor's.
    pub(crate) fn weight_bytes(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |p| p.stored_bytes());
        // A deletion shares its bytes with the version before.
        let own = if self.kind == EventKind::Deleted { 0 } else { self.object.stored_bytes() };
        own + previous + 512
    }

    /// Lets go of what is shared by watchers that keep up.
    pub(crate) fn cool(&self) {
        *self.warm() = Warm { cold: true, ..Warm::default() };
    }

    fn value(&self) -> Arc<Value> {
        if let Some(value) = &self.warm().value {
            return value.clone();
        }
        let value = self.object.value();
        let mut warm = self.warm();
        if !warm.cold {
            warm.value = Some(value.clone());
        }
        value
    }

    fn previous_value(&self, previous: &Object) -> Arc<Value> {
        if let Some(value) = &self.warm().previous_value {
            return value.clone();
        }
        let value = previous.value();
        let mut warm = self.warm();
        if !warm.cold {
            warm.previous_value = Some(value.clone());
        }
        value
    }

    fn warm(&self) -> std::sync::MutexGuard<'_, Warm> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The event for a watcher that saw the object before, or not, and sees it now, or not.
fn sight(before: bool, now: bool) -> Option<EventKind> {
    match (before, now) {
        (false, true) => Some(EventKind::Added),
        (true, true) => Some(EventKind::Modified),
        (true, false) => Some(EventKind::Deleted),
        (false, false) => None,
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.object)
    }
}

#[cfg(test)]
mod tests;
