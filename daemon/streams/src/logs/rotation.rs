//! Which file comes after the one that is being read.
//!
//! Rotation renames `0.log` to `0.log.<time>` and lets the runtime open a new `0.log` (behaviour.md 38.7); the reader keeps
//! the old file open and finds out by its inode. A slow reader may be several rotations behind, so the next file is looked
//! for among all of them. Compressed files are not read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Which file it is, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// An opened log file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) file: File,
    pub(super) id: FileId,
    pub(super) size: u64,
}

/// Opens a log file and nothing else: a pipe in its place must not hang the reader.
pub(super) fn open(path: &Path) -> io::Result<LogFile> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(LogFile { id: FileId::of(&metadata), size: metadata.len(), file })
}

/// The file after the one that is being read.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) log: LogFile,
    /// It is rotated itself, so that nothing is written to its predecessor any more.
    pub(super) is_rotated: bool,
}

/// The file that comes after `current`, if `path` names another one by now, or names none while later ones were rotated.
pub(super) fn successor(path: &Path, current: &File) -> io::Result<Option<Successor>> {
    let own = current.metadata()?;
    let own_id = FileId::of(&own);
    let named = match fs::metadata(path) {
        Ok(metadata) if FileId::of(&metadata) == own_id => return Ok(None),
        Ok(metadata) => Some(metadata),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let mut later = rotated(path)?;
    match later.iter().position(|(_, metadata)| FileId::of(metadata) == own_id) {
        Some(at) => {
            later.drain(..=at);
        }
        // The own file is removed or compressed. What was written to after it comes after it.
        None => later.retain(|(_, m)| (m.mtime(), m.mtime_nsec()) > (own.mtime(), own.mtime_nsec())),
    }
    let is_rotated = !later.is_empty();
    let next = match (later.into_iter().next(), named) {
        (Some((path, metadata)), _) => Some((path, metadata)),
        (None, Some(metadata)) => Some((path.to_owned(), metadata)),
        (None, None) => None,
    };
    let Some((next, expected)) = next else { return Ok(None) };
    match open(&next) {
        // Rotated since it was looked at: this is a later one, and the one that was found is among the rotated by now.
        Ok(log) if log.id != FileId::of(&expected) => Ok(None),
        Ok(log) => Ok(Some(Successor { log, is_rotated })),
        // Renamed again just now: the caller looks again.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a file of this log was rotated already, so that the log itself may be missing for a moment.
pub(super) fn is_under_way(path: &Path) -> bool {
    rotated(path).is_ok_and(|files| !files.is_empty())
}

/// Uncompressed rotated files, the oldest first: their names end with the time.
fn rotated(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with(&prefix) || name.ends_with(".gz") || name.ends_with(".tmp") {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => files.push((entry.path(), metadata)),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_after(path: &Path, current: &File) -> Option<(String, bool)> {
        let next = successor(path, current).expect("looked")?;
        Some((io::read_to_string(next.log.file).expect("read"), next.is_rotated))
    }

    #[test]
    fn the_next_file_is_found_from_any_of_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let file = |name: &str| dir.path().join(name);
        fs::write(&path, "first").expect("written");
        let first = open(&path).expect("opened").file;
        assert_eq!(text_after(&path, &first), None);
        fs::rename(&path, file("0.log.20261123-000001")).expect("renamed");
        assert_eq!(text_after(&path, &first), None, "the runtime has not opened the next file yet");
        fs::write(&path, "second").expect("written");
        assert_eq!(text_after(&path, &first), Some(("second".into(), false)));
        fs::rename(&path, file("0.log.20261123-000002")).expect("renamed");
        fs::write(file("0.log.20261123-000003.gz"), "not text").expect("written");
        fs::write(&path, "third").expect("written");
        assert_eq!(text_after(&path, &first), Some(("second".into(), true)));
        fs::remove_file(file("0.log.20261123-000001")).expect("removed");
        assert_eq!(text_after(&path, &first), Some(("second".into(), true)), "the own file may be gone");
        fs::remove_file(&path).expect("removed");
        assert_eq!(text_after(&path, &first), Some(("second".into(), true)), "and the newest, too");
    }

    #[test]
    fn a_pipe_in_place_of_a_log_is_refused_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        assert!(open(&path).is_err());
    }
}
