//! One version of one object: its JSON, its revision, and the way to put the revision into the JSON.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use serde_json::Value;

use crate::store::Record;

mod splice;

/// One version of one object. Shared by the cache, the events that carry it and the responses under way.
pub struct Object {
    key: Arc<str>,
    /// Compact JSON without `metadata.resourceVersion`.
    json: Bytes,
    revision: u64,
    create_revision: u64,
    /// The parsed form lives as long as somebody uses it: it takes about five times the memory of the bytes.
    parsed: Mutex<Weak<Value>>,
}

impl Object {
    pub fn new(key: Arc<str>, record: Record) -> Self {
        let Record { value, mod_revision, create_revision } = record;
        Self { key, json: value, revision: mod_revision, create_revision, parsed: Mutex::default() }
    }

    /// The same content with the revision of a later event: what a watcher gets when the object has gone.
    pub(crate) fn at(&self, revision: u64) -> Self {
        Self {
            key: self.key.clone(),
            json: self.json.clone(),
            revision,
            create_revision: self.create_revision,
            parsed: Mutex::default(),
        }
    }

    /// `resource/namespace/name` or `resource/name`.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// `metadata.resourceVersion` as a number; what an update or a delete expects.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn create_revision(&self) -> u64 {
        self.create_revision
    }

    /// The size of the JSON as it is stored.
    pub fn stored_bytes(&self) -> usize {
        self.json.len()
    }

    /// The JSON as it is stored, without `metadata.resourceVersion`.
    pub(crate) fn stored_json(&self) -> &Bytes {
        &self.json
    }

    /// The object as a tree, with `metadata.resourceVersion`. Parsed when first asked for, then shared for as long as anybody
    /// holds it. `Null` if the store held something that is not JSON, which only another program can have put there.
    pub fn value(&self) -> Arc<Value> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = parsed.upgrade() {
            return value;
        }
        let mut value = serde_json::from_slice(&self.json).unwrap_or_else(|error| {
            tracing::error!(key = %self.key, %error, "a stored object is not JSON");
            Value::Null
        });
        set_resource_version(&mut value, self.revision);
        let value = Arc::new(value);
        *parsed = Arc::downgrade(&value);
        value
    }

    /// Appends the JSON with `metadata.resourceVersion`, without parsing it.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        splice::with_resource_version(&self.json, self.revision, out);
    }

    /// The JSON with `metadata.resourceVersion`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.json.len() + 48);
        self.write_json(&mut out);
        out
    }
}

impl fmt::Debug for Object {
    /// Objects may be secrets: only the key and the revision.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}

/// Sets `metadata.resourceVersion` of a tree.
pub fn set_resource_version(value: &mut Value, revision: u64) {
    if let Some(object) = value.as_object_mut() {
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
        }
    }
}

/// Removes `metadata.resourceVersion` of a tree, which is never stored.
pub(crate) fn remove_resource_version(value: &mut Value) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
}

#[cfg(test)]
mod tests;
