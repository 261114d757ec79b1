//! Which objects name which others as their owners. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::kinds::values::{is_true, items, string};
use crate::kinds::{Kind, text};

/// Holds an owner until its dependents have forgotten it.
pub(crate) const ORPHAN: &str = "orphan";
/// Holds an owner until those of its dependents are gone that want it so.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// A reference to an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Whether the owner is to wait for this object, where it waits at all.
    pub(crate) blocks: bool,
}

/// What is kept of an object that has owners, or that waits for dependents.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) owners: Vec<Owner>,
    pub(crate) deleting: bool,
    pub(crate) orphan: bool,
    pub(crate) foreground: bool,
}

impl Item {
    /// `None` for an object that neither has owners nor waits for dependents.
    pub(crate) fn of(kind: &'static Kind, object: &Value) -> Option<Self> {
        let metadata = object.get("metadata")?;
        let owner = |reference: &Value| Owner {
            api_version: string(reference, "apiVersion").to_owned(),
            kind: string(reference, "kind").to_owned(),
            name: string(reference, "name").to_owned(),
            uid: string(reference, "uid").to_owned(),
            blocks: is_true(reference, "blockOwnerDeletion"),
        };
        let has = |finalizer: &str| items(metadata, "finalizers").iter().any(|f| f == finalizer);
        let item = Self {
            kind,
            namespace: string(metadata, "namespace").to_owned(),
            name: string(metadata, "name").to_owned(),
            uid: string(metadata, "uid").to_owned(),
            owners: items(metadata, "ownerReferences").iter().map(owner).collect(),
            deleting: !text(object, "/metadata/deletionTimestamp").is_empty(),
            orphan: has(ORPHAN),
            foreground: has(FOREGROUND),
        };
        (!item.owners.is_empty() || item.waits()).then_some(item)
    }

    /// Whether it is held until something is done with its dependents.
    fn waits(&self) -> bool {
        self.deleting && (self.orphan || self.foreground)
    }

    pub(crate) fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    fn same(&self, other: &Self) -> bool {
        let rest = |item: &Self| (item.uid.clone(), item.deleting, item.orphan, item.foreground);
        rest(self) == rest(other) && self.owners == other.owners
    }
}

/// See the module's page. Objects are known by their keys.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    items: HashMap<Arc<str>, Item>,
    by_owner: HashMap<String, BTreeSet<Arc<str>>>,
    /// Those that wait, by their UIDs.
    waiting: HashMap<String, Arc<str>>,
    dirty: BTreeSet<Arc<str>>,
}

impl Graph {
    pub(crate) fn get(&self, key: &str) -> Option<&Item> {
        self.items.get(key)
    }

    /// The objects that name this one as their owner.
    pub(crate) fn dependents(&self, uid: &str) -> impl Iterator<Item = (&Arc<str>, &Item)> {
        let keys = self.by_owner.get(uid).into_iter().flatten();
        keys.filter_map(|key| self.items.get_key_value(key))
    }

    /// Takes in an object as it is now; `None` for one that is there but need not be known.
    pub(crate) fn put(&mut self, key: Arc<str>, item: Option<Item>) {
        if let (Some(known), Some(item)) = (self.items.get(&key), &item)
            && known.same(item)
        {
            return;
        }
        self.forget(&key);
        let Some(item) = item else { return };
        for owner in &item.owners {
            self.by_owner.entry(owner.uid.clone()).or_default().insert(key.clone());
        }
        if item.waits() {
            self.waiting.insert(item.uid.clone(), key.clone());
            self.dirty_dependents(&item.uid);
        }
        self.items.insert(key.clone(), item);
        self.dirty.insert(key);
    }

    /// An object is gone: those that it owned are to be looked at.
    pub(crate) fn gone(&mut self, key: &str, uid: &str) {
        self.forget(key);
        self.dirty_dependents(uid);
    }

    fn dirty_dependents(&mut self, uid: &str) {
        self.dirty.extend(self.by_owner.get(uid).into_iter().flatten().cloned());
    }

    fn forget(&mut self, key: &str) {
        self.dirty.remove(key);
        let Some(item) = self.items.remove(key) else { return };
        self.waiting.remove(&item.uid);
        for owner in &item.owners {
            if let Some(keys) = self.by_owner.get_mut(&owner.uid) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_owner.remove(&owner.uid);
                }
            }
            // It may have waited for this one.
            self.dirty.extend(self.waiting.get(&owner.uid).cloned());
        }
    }

    /// Some of those that are to be looked at; they are clean then.
    pub(crate) fn take_dirty(&mut self, limit: usize) -> Vec<Arc<str>> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(key) = self.dirty.pop_first()
        {
            taken.push(key);
        }
        taken
    }

    pub(crate) fn mark_dirty(&mut self, keys: Vec<Arc<str>>) {
        self.dirty.extend(keys);
    }
}

#[cfg(test)]
pub(super) mod tests;
