//! What one write does to one key.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::{Change, Record, WriteError};

/// A write of one key.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Create(Bytes),
    Update { value: Bytes, expected: u64 },
    Delete { expected: u64 },
}

/// The answer to a write that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) revision: u64,
    /// What the key holds now; nothing after a deletion.
    pub(super) record: Option<Record>,
}

impl Operation {
    pub(super) fn value_bytes(&self) -> usize {
        match self {
            Self::Create(value) | Self::Update { value, .. } => value.len(),
            Self::Delete { .. } => 0,
        }
    }

    /// The change that the write makes to a key that now holds `before`, at `revision`; or why it makes none.
    pub(super) fn change(
        self,
        key: &Arc<str>,
        before: Option<Record>,
        revision: u64,
    ) -> Result<Change, WriteError> {
        let existing = |before: Option<Record>, expected: u64| match before {
            None => Err(WriteError::NotFound { key: key.to_string() }),
            Some(current) if current.mod_revision != expected => {
                Err(WriteError::Conflict { key: key.to_string(), expected, current })
            }
            Some(current) => Ok(current),
        };
        let (before, after) = match self {
            Self::Create(value) => {
                if let Some(current) = before {
                    return Err(WriteError::AlreadyExists { key: key.to_string(), current });
                }
                (None, Some(Record { value, mod_revision: revision, create_revision: revision }))
            }
            Self::Update { value, expected } => {
                let before = existing(before, expected)?;
                let create_revision = before.create_revision;
                (Some(before), Some(Record { value, mod_revision: revision, create_revision }))
            }
            Self::Delete { expected } => (Some(existing(before, expected)?), None),
        };
        Ok(Change { revision, key: key.clone(), before, after })
    }
}
