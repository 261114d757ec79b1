//! The end of a pod's volumes (behaviour.md 20.31, 20.32). Everything follows from the mount table and the directories, so it can
//! be begun again at any point, by any daemon, for a pod that nobody knows any more.

use std::fs;
use std::io;
use std::path::Path;

use crate::mounts;
use crate::remove::{RemoveError, remove_tree};

/// What a pod's directory has of its volumes, in the order in which it goes: parts are mounted from volumes.
const DIRS: [&str; 4] = ["volume-subpaths", "volumes", "volumeDevices", "plugins"];

/// Unmounts everything below the volumes of the pod whose directory is `pod`, and removes them once nothing is mounted there any
/// more. Goes on after each error.
///
/// # Errors
/// All that is left and why.
pub(crate) fn tear_down(pod: &Path) -> Result<(), RemoveError> {
    let mut problems = Vec::new();
    let mounted = mounts::below(pod).map_err(|e| RemoveError::of(format!("reading the mount table: {e}")))?;
    let mut note = |result: Result<(), RemoveError>| {
        if let Err(error) = result {
            problems.extend(error.problems);
        }
    };
    for dir in DIRS {
        let dir = pod.join(dir);
        for place in mounted.iter().filter(|place| place.starts_with(&dir)) {
            let unmounted = mounts::unmount(place);
            note(unmounted.map_err(|e| RemoveError::of(format!("unmounting {}: {e}", place.display()))));
        }
        note(clear(&dir));
    }
    if problems.is_empty() { Ok(()) } else { Err(RemoveError { problems }) }
}

/// Removes each volume of its own, so that one that cannot be removed holds up no other.
fn clear(dir: &Path) -> Result<(), RemoveError> {
    let listing = |e: io::Error| RemoveError::of(format!("listing {}: {e}", dir.display()));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(listing(e)),
    };
    let mut problems = Vec::new();
    for entry in entries {
        let plugin = entry.map_err(listing)?.path();
        let volumes = match fs::symlink_metadata(&plugin) {
            Ok(found) if found.is_dir() => fs::read_dir(&plugin),
            _ => {
                problems.extend(remove_tree(&plugin).err().into_iter().flat_map(|e| e.problems));
                continue;
            }
        };
        for volume in volumes.into_iter().flatten().flatten() {
            problems.extend(remove_tree(&volume.path()).err().into_iter().flat_map(|e| e.problems));
        }
        match fs::remove_dir(&plugin) {
            Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                problems.push(format!("removing {}: {e}", plugin.display()));
            }
            _ => {}
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(RemoveError { problems }) }
}

#[cfg(test)]
mod tests;
