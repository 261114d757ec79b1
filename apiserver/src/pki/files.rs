//! Files with secrets: mode 0600 in directories with mode 0700, replaced atomically, read with a bound.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::FILE_LIMIT_BYTES;

/// A file or directory that cannot be used, by operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("reading {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("reading {path}: more than {FILE_LIMIT_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("writing {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("making the directory {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("locking {path}")]
    Lock { path: PathBuf, source: io::Error },
}

/// Makes a directory and its parents; what is made is the owner's alone.
pub(crate) fn create_directory(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| FileError::Directory { path: path.to_owned(), source })
}

/// Waits for the lock; it is held until the result is dropped.
pub(super) fn lock(path: &Path) -> Result<Flock<File>, FileError> {
    let failed = |source: io::Error| FileError::Lock { path: path.to_owned(), source };
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
}

/// The file's text; `None` if it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>, FileError> {
    let failed = |source: io::Error| FileError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut text = String::new();
    file.take(FILE_LIMIT_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_LIMIT_BYTES {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    Ok(Some(text))
}

/// Writes a whole file or nothing, on disk before this returns.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let temporary = path.with_extension("new");
    let written = write_and_rename(&temporary, path, content);
    if written.is_err() {
        // The error that matters is the one of the write; a leftover is overwritten the next time.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|source| FileError::Write { path: path.to_owned(), source })
}

fn write_and_rename(temporary: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
