//! The files of one volume, before they are written.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::KeyToPath;
use thiserror::Error;

/// Longest path below a volume, in bytes.
const MAX_PATH: usize = 4096;
/// Longest name of a file, in bytes.
const MAX_NAME: usize = 255;
/// The mode of files where neither the volume nor the item says one; the API's default.
pub const DEFAULT_MODE: u32 = 0o644;

/// One file.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Its content; may be secret.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// The user that it belongs to, where that is not root.
    pub owner: Option<u32>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("bytes", &self.bytes.len())
            .field("mode", &format_args!("{:o}", self.mode))
            .field("owner", &self.owner)
            .finish()
    }
}

/// Why a path cannot be one below a volume, in a kubelet's words (behaviour.md 20.4).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// It is empty.
    #[error("invalid path: must not be empty")]
    Empty,
    /// It begins at the root.
    #[error("invalid path: must be relative path: {0}")]
    Absolute(String),
    /// It is too long.
    #[error("invalid path: must be less than or equal to {MAX_PATH} characters")]
    Long,
    /// It leads upwards.
    #[error("invalid path: must not contain '..': {0}")]
    Upwards(String),
    /// One of its names is too long.
    #[error("invalid path: filenames must be less than or equal to {MAX_NAME} characters")]
    LongName,
    /// It could be taken for one of the writer's own names.
    #[error("invalid path: must not start with '..': {0}")]
    Reserved(String),
    /// It is a directory for another file.
    #[error("invalid path: a file and a directory of the same name: {0}")]
    Both(String),
}

/// A key that a volume refers to and the object does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("references non-existent key: {0}")]
pub struct MissingKey(pub String);

/// Files by their path below the volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(BTreeMap<String, File>);

impl Payload {
    /// Adds a file; a later one of the same path takes the place of an earlier one.
    ///
    /// # Errors
    /// The path is not one below a volume.
    pub fn add(&mut self, path: &str, file: File) -> Result<(), PathError> {
        let path = checked(path)?;
        let above = path.match_indices('/').map(|(at, _)| &path[..at]).find(|dir| self.0.contains_key(*dir));
        let below = format!("{path}/");
        let first_below = self.0.range(below.clone()..).next().map(|(other, _)| other.as_str());
        if let Some(other) = above.or(first_below.filter(|other| other.starts_with(&below))) {
            return Err(PathError::Both(other.to_owned()));
        }
        self.0.insert(path, file);
        Ok(())
    }

    /// Adds all of `files`.
    ///
    /// # Errors
    /// A file of one is a directory of the other.
    pub fn extend(&mut self, files: Self) -> Result<(), PathError> {
        files.0.into_iter().try_for_each(|(path, file)| self.add(&path, file))
    }

    /// The files in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.0.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The names that are seen at the top of the volume.
    pub(crate) fn top_names(&self) -> std::collections::BTreeSet<&str> {
        self.0.keys().map(|path| path.split('/').next().unwrap_or(path)).collect()
    }
}

/// The path without what means nothing in it.
fn checked(path: &str) -> Result<String, PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.starts_with('/') {
        return Err(PathError::Absolute(path.to_owned()));
    }
    if path.len() > MAX_PATH {
        return Err(PathError::Long);
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") || path.contains('\0') {
        return Err(PathError::Upwards(path.to_owned()));
    }
    if parts.iter().any(|part| part.len() > MAX_NAME) {
        return Err(PathError::LongName);
    }
    match parts.first() {
        None => Err(PathError::Empty),
        Some(first) if first.starts_with("..") => Err(PathError::Reserved(path.to_owned())),
        Some(_) => Ok(parts.join("/")),
    }
}

/// Why a key cannot become a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// See [`MissingKey`].
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// See [`PathError`].
    #[error(transparent)]
    Path(#[from] PathError),
}

/// The files of a config map or secret (behaviour.md 20.5): every key under its own name, or just the `items`. With `optional` a
/// key that is missing is left out.
///
/// # Errors
/// An item's key is missing, or a path is none.
pub fn keyed<'a>(
    content: impl Iterator<Item = (&'a str, &'a [u8])>,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
) -> Result<Payload, KeyError> {
    let mut payload = Payload::default();
    let file = |bytes: &[u8], mode| File { bytes: bytes.to_vec(), mode, owner: None };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, bytes) in content {
            payload.add(key, file(bytes, default_mode))?;
        }
        return Ok(payload);
    };
    let content: BTreeMap<&str, &[u8]> = content.collect();
    for item in items {
        match content.get(item.key.as_str()) {
            Some(bytes) => payload.add(&item.path, file(bytes, mode(item.mode, default_mode)))?,
            None if optional => {}
            None => return Err(MissingKey(item.key.clone()).into()),
        }
    }
    Ok(payload)
}

/// A mode as the API gives it.
pub fn mode(given: Option<i32>, default: u32) -> u32 {
    given.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default) & 0o777
}

#[cfg(test)]
mod tests;
