//! Removal of a tree that may once have had mounts in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What could not be removed; the rest is gone.
#[derive(Debug, Error)]
#[error("{}", .problems.join("; "))]
pub struct RemoveError {
    /// One line each, with the path.
    pub problems: Vec<String>,
}

impl RemoveError {
    pub(crate) fn of(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}

/// Removes `path` and all below it; nothing at all while anything is mounted there.
pub(crate) fn remove_tree(path: &Path) -> Result<(), RemoveError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {}
        // Not one of ours: a link is removed, and what it points to stays.
        Ok(_) => {
            let removed = fs::remove_file(path);
            return removed.map_err(|e| RemoveError::of(format!("removing {}: {e}", path.display())));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RemoveError::of(format!("looking at {}: {e}", path.display()))),
    }
    let mounted = mounts_below(path).map_err(|e| RemoveError::of(format!("reading the mount table: {e}")))?;
    if !mounted.is_empty() {
        let problems = mounted.iter().map(|m| format!("{} is still mounted", m.display())).collect();
        return Err(RemoveError { problems });
    }
    let mut problems = Vec::new();
    remove_dir(path, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(RemoveError { problems }) }
}

fn mounts_below(path: &Path) -> Result<Vec<PathBuf>, procfs::ProcError> {
    let table = procfs::process::Process::myself()?.mountinfo()?;
    Ok(table.into_iter().map(|m| m.mount_point).filter(|m| m.starts_with(path)).collect())
}

fn remove_dir(path: &Path, problems: &mut Vec<String>) {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) => return note(problems, "listing", path, &e),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                note(problems, "listing", path, &e);
                continue;
            }
        };
        let child = entry.path();
        // Of the entry itself: a link to a directory is removed, not entered.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => remove_dir(&child, problems),
            Ok(_) => {
                if let Err(e) = fs::remove_file(&child) {
                    note(problems, "removing", &child, &e);
                }
            }
            Err(e) => note(problems, "looking at", &child, &e),
        }
    }
    if let Err(e) = fs::remove_dir(path) {
        note(problems, "removing", path, &e);
    }
}

fn note(problems: &mut Vec<String>, action: &str, path: &Path, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        problems.push(format!("{action} {}: {error}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_tree_is_removed_and_not_followed() {
        let root = tempfile::tempdir().expect("a directory");
        let outside = root.path().join("outside");
        fs::create_dir_all(&outside).expect("made");
        fs::write(outside.join("kept"), "x").expect("written");
        let link = root.path().join("link");
        for target in [&outside, &root.path().join("nowhere")] {
            std::os::unix::fs::symlink(target, &link).expect("linked");
            remove_tree(&link).expect("removed");
            assert!(fs::symlink_metadata(&link).is_err());
        }
        assert!(outside.join("kept").exists());
        fs::write(&link, "a file").expect("written");
        remove_tree(&link).expect("removed");
        remove_tree(&link).expect("removed twice");
    }

    #[test]
    fn what_is_mounted_below_a_path_is_known() {
        let mounted = mounts_below(Path::new("/proc")).expect("read");
        assert!(mounted.contains(&PathBuf::from("/proc")), "{mounted:?}");
        let root = tempfile::tempdir().expect("a directory");
        assert!(mounts_below(root.path()).expect("read").is_empty());
    }

    #[test]
    fn a_link_out_of_the_tree_is_removed_and_not_followed() {
        let root = tempfile::tempdir().expect("a directory");
        let outside = root.path().join("outside");
        let tree = root.path().join("tree/sub");
        fs::create_dir_all(&outside).expect("made");
        fs::create_dir_all(&tree).expect("made");
        fs::write(outside.join("kept"), "x").expect("written");
        std::os::unix::fs::symlink(&outside, tree.join("link")).expect("linked");
        remove_tree(&root.path().join("tree")).expect("removed");
        assert!(outside.join("kept").exists());
        assert!(!root.path().join("tree").exists());
    }
}
