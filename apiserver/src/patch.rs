//! The three kinds of patches: JSON patch (RFC 6902), merge patch (RFC 7386), and strategic merge patch.
//!
//! All are functions from the current object to the next. What a patch may not change is found afterwards: a patched object goes
//! the way of an update.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::kinds::Kind;
use crate::schema::types;

mod order;
mod strategic;

/// Operations in one JSON patch.
const OPERATIONS_LIMIT: usize = 10_000;
/// All that the `copy` operations of one JSON patch may copy, in bytes of JSON: copies of copies grow without bound.
const COPIED_LIMIT: usize = 3 * 1024 * 1024;

/// How a patch is to be read: its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
}

impl PatchType {
    /// From a content type without parameters. Server-side apply's is none of these.
    pub(crate) fn from_content_type(content_type: &str) -> Option<Self> {
        match content_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }
}

/// A patch that cannot be carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatchError {
    /// 400: the patch is not a patch.
    #[error("{0}")]
    Malformed(String),
    /// 422: the patch does not fit the object.
    #[error("the server rejected our request due to an error in our request: {0}")]
    Unprocessable(String),
    /// 413.
    #[error("{0}")]
    TooLarge(String),
}

/// The object after the patch. `current` is in the version of `kind`.
pub(crate) fn apply(
    kind: &Kind,
    patch_type: PatchType,
    patch: &Value,
    current: &Value,
) -> Result<Value, PatchError> {
    match patch_type {
        PatchType::Json => json(patch, current),
        PatchType::Merge => merge(patch, current),
        PatchType::Strategic => {
            let types = types();
            strategic::apply(types, types.root(&kind.body), patch, current)
        }
    }
}

fn json(patch: &Value, current: &Value) -> Result<Value, PatchError> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > OPERATIONS_LIMIT {
        let message =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {count}");
        return Err(PatchError::TooLarge(message));
    }
    let operations: Vec<PatchOperation> = serde_json::from_value(patch.clone())
        .map_err(|e| PatchError::Malformed(format!("error decoding patch: {e}")))?;
    let mut object = current.clone();
    let mut copied = 0;
    for operation in &operations {
        if let PatchOperation::Copy(copy) = operation
            && let Ok(source) = copy.from.resolve(&object)
        {
            copied += source.to_string().len();
            if copied > COPIED_LIMIT {
                let message = format!("the copy operations of the patch copy more than {COPIED_LIMIT} bytes");
                return Err(PatchError::TooLarge(message));
            }
        }
        json_patch::patch(&mut object, std::slice::from_ref(operation))
            .map_err(|e| PatchError::Unprocessable(format!("{} at \"{}\"", e.kind, operation.path())))?;
    }
    Ok(object)
}

fn merge(patch: &Value, current: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed(
            "error decoding patch: a merge patch must be an object".to_owned(),
        ));
    }
    let mut object = current.clone();
    json_patch::merge(&mut object, patch);
    Ok(object)
}

#[cfg(test)]
mod tests;
