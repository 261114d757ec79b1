//! The recent changes in the file: for each revision its key and what was there before.
//!
//! What was there afterwards is what the next change of the key found, or what the key holds now; so each value is written
//! twice at most, not three times.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::store::{Change, Record};

/// What is kept at most. Enough for a watcher to come back after the server's restart.
const KEPT_CHANGES: usize = 4096;
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// A change without what came after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Undo {
    pub(super) revision: u64,
    pub(super) key: Arc<str>,
    pub(super) before: Option<Record>,
    pub(super) deleted: bool,
}

/// Bytes that are not an encoded record or undo entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

const HAS_BEFORE: u8 = 1;
const DELETED: u8 = 2;

/// `mod_revision`, `create_revision` (big endian), value.
pub(super) fn encode_record(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(&record.mod_revision.to_be_bytes());
    out.extend_from_slice(&record.create_revision.to_be_bytes());
    out.extend_from_slice(&record.value);
}

pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, Malformed> {
    let (mod_revision, rest) = bytes.split_first_chunk().ok_or(Malformed("a record is too short"))?;
    let (create_revision, value) = rest.split_first_chunk().ok_or(Malformed("a record is too short"))?;
    Ok(Record {
        value: Bytes::copy_from_slice(value),
        mod_revision: u64::from_be_bytes(*mod_revision),
        create_revision: u64::from_be_bytes(*create_revision),
    })
}

impl Undo {
    /// Flags, length of the key (big endian), key, the record before.
    pub(super) fn encode(change: &Change) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(32 + change.key.len() + change.before.as_ref().map_or(0, |b| b.value.len()));
        let before = if change.before.is_some() { HAS_BEFORE } else { 0 };
        let deleted = if change.after.is_none() { DELETED } else { 0 };
        out.push(before | deleted);
        let length = u16::try_from(change.key.len()).expect("keys are limited to a kilobyte");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(change.key.as_bytes());
        if let Some(record) = &change.before {
            encode_record(record, &mut out);
        }
        out
    }

    pub(super) fn decode(revision: u64, bytes: &[u8]) -> Result<Self, Malformed> {
        let ([flags, high, low], rest) =
            bytes.split_first_chunk().ok_or(Malformed("a change is too short"))?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (key, rest) =
            rest.split_at_checked(length).ok_or(Malformed("a change is too short for its key"))?;
        let key = std::str::from_utf8(key).map_err(|_| Malformed("a change's key is not text"))?;
        let before = if flags & HAS_BEFORE != 0 { Some(decode_record(rest)?) } else { None };
        Ok(Self { revision, key: key.into(), before, deleted: flags & DELETED != 0 })
    }
}

/// The changes that entries in the order of their revisions describe, given what the keys hold now.
pub(super) fn rebuild(
    entries: Vec<Undo>,
    now: impl Fn(&str) -> Option<Record>,
) -> Result<Vec<Change>, Malformed> {
    let mut later: HashMap<Arc<str>, Option<Record>> = HashMap::new();
    let mut changes = Vec::with_capacity(entries.len());
    for Undo { revision, key, before, deleted } in entries.into_iter().rev() {
        let after = match later.get(&key) {
            Some(after) => after.clone(),
            None => now(&key),
        };
        let agrees = match &after {
            Some(record) => !deleted && record.mod_revision == revision,
            None => deleted,
        };
        if !agrees {
            return Err(Malformed("the changes and the objects do not agree"));
        }
        later.insert(key.clone(), before.clone());
        changes.push(Change { revision, key, before, after });
    }
    changes.reverse();
    Ok(changes)
}

/// Which entries are in the file, and their sizes.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    entries: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Kept {
    pub(super) fn add(&mut self, revision: u64, bytes: usize) {
        self.entries.push_back((revision, bytes));
        self.bytes += bytes;
    }

    /// The oldest entry, if it is one too many; it is forgotten here.
    pub(super) fn prune(&mut self) -> Option<u64> {
        if self.entries.len() <= KEPT_CHANGES && self.bytes <= KEPT_BYTES {
            return None;
        }
        let (revision, bytes) = self.entries.pop_front()?;
        self.bytes -= bytes;
        Some(revision)
    }
}

#[cfg(test)]
mod tests;
