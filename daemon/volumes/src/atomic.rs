//! Files that change all at once (behaviour.md 20.4).
//!
//! ```text
//!   NAME -> ..data/NAME          what containers open
//!   ..data -> ..2026_01_02_03_04_05.678901234
//!   ..2026_01_02_03_04_05.678901234/NAME
//! ```
//!
//! A new content is written into a new directory, and `..data` is renamed over: whoever opens the files through one opened
//! `..data` sees the old ones or the new ones and never both. What a crash has left is cleared by the next write.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::payload::Payload;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// What could not be written.
#[derive(Debug, Error)]
#[error("{action} {path}")]
pub struct WriteError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl WriteError {
    pub(crate) fn reason(&self) -> &io::Error {
        &self.source
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { action, path, source }
}

/// The directory that `..data` points to, if it does.
fn current(dir: &Path) -> Option<String> {
    let target = fs::read_link(dir.join(DATA)).ok()?;
    let name = target.to_str()?;
    (name.starts_with("..") && !name.contains('/') && name != "..").then(|| name.to_owned())
}

/// Whether a content was ever written to `dir`.
pub(crate) fn is_written(dir: &Path) -> bool {
    current(dir).is_some_and(|name| dir.join(name).is_dir())
}

/// Makes `payload` the content of `dir`, which is there; `prepare` gives the new directory its owners before anybody sees it.
/// Tells whether anything had to be written.
pub(crate) fn write(
    dir: &Path,
    payload: &Payload,
    prepare: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<bool, WriteError> {
    write_with(dir, payload, prepare, &mut |_| true)
}

/// The steps of a write, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Made,
    Written,
    Prepared,
    Linked,
    Switched,
    Shown,
    Cleared,
}

/// As [`write`]; ends as a killed process would where `go_on` says no after a step.
pub(crate) fn write_with(
    dir: &Path,
    payload: &Payload,
    prepare: &dyn Fn(&Path) -> io::Result<()>,
    go_on: &mut dyn FnMut(Step) -> bool,
) -> Result<bool, WriteError> {
    let old = current(dir);
    let unchanged = old.as_ref().is_some_and(|name| is_equal(&dir.join(name), payload));
    if unchanged {
        show(dir, payload)?;
        clear(dir, payload, old.as_deref())?;
        return Ok(false);
    }
    let name = new_name();
    let new = dir.join(&name);
    fs::create_dir(&new).map_err(failed("writing", dir))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).map_err(failed("writing", dir))?;
    if !go_on(Step::Made) {
        return Ok(true);
    }
    for (path, file) in payload.files() {
        // Errors name what a container would see: a name of this attempt alone would make each of them a new event.
        let shown = dir.join(path);
        let failed = || failed("writing", &shown);
        let path = new.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed())?;
        }
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(file.mode)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(&path)
            .map_err(failed())?;
        out.write_all(&file.bytes).map_err(failed())?;
        // The umask does not count.
        out.set_permissions(fs::Permissions::from_mode(file.mode)).map_err(failed())?;
        if file.owner.is_some() {
            std::os::unix::fs::fchown(&out, file.owner, None).map_err(failed())?;
        }
    }
    if !go_on(Step::Written) {
        return Ok(true);
    }
    prepare(&new).map_err(failed("giving the owners to", &new))?;
    if !go_on(Step::Prepared) {
        return Ok(true);
    }
    let link = dir.join(NEW_DATA);
    match fs::remove_file(&link) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &link)(e)),
        _ => {}
    }
    symlink(&name, &link).map_err(failed("linking", &link))?;
    if !go_on(Step::Linked) {
        return Ok(true);
    }
    let data = dir.join(DATA);
    fs::rename(&link, &data).map_err(failed("switching", &data))?;
    if !go_on(Step::Switched) {
        return Ok(true);
    }
    show(dir, payload)?;
    if !go_on(Step::Shown) {
        return Ok(true);
    }
    clear(dir, payload, Some(&name))?;
    go_on(Step::Cleared);
    Ok(true)
}

/// Links the names that users open.
fn show(dir: &Path, payload: &Payload) -> Result<(), WriteError> {
    for name in payload.top_names() {
        let (link, target) = (dir.join(name), Path::new(DATA).join(name));
        match symlink(&target, &link) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed("linking", &link)(e)),
        }
    }
    Ok(())
}

/// Removes links whose file is gone, and the directories of older contents.
fn clear(dir: &Path, payload: &Payload, current: Option<&str>) -> Result<(), WriteError> {
    let shown = payload.top_names();
    for entry in fs::read_dir(dir).map_err(failed("listing", dir))? {
        let entry = entry.map_err(failed("listing", dir))?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else { continue };
        if name == DATA || Some(name) == current {
            continue;
        }
        let is_dir = entry.file_type().map_err(failed("looking at", &path))?.is_dir();
        let gone = match name.starts_with("..") {
            true if is_dir => fs::remove_dir_all(&path),
            true => fs::remove_file(&path),
            false if shown.contains(name) => Ok(()),
            // Only what was linked here: nothing else has a place in this directory, but it is not ours to remove.
            false if fs::read_link(&path).is_ok_and(|target| target.starts_with(DATA)) => {
                fs::remove_file(&path)
            }
            false => Ok(()),
        };
        match gone {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &path)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether `dir` has the files of `payload` with their content, and no others.
fn is_equal(dir: &Path, payload: &Payload) -> bool {
    let mut wanted = 0;
    for (path, file) in payload.files() {
        wanted += 1;
        let path = dir.join(path);
        let same_size =
            fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && m.len() == file.bytes.len() as u64);
        if !same_size || !fs::read(&path).is_ok_and(|bytes| bytes == file.bytes) {
            return false;
        }
    }
    count_files(dir, wanted + 1) == Some(wanted)
}

/// How many files there are below `dir`; stops at `most`. `None` where it cannot be read.
fn count_files(dir: &Path, most: usize) -> Option<usize> {
    let mut count = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).ok()? {
            let entry = entry.ok()?;
            if entry.file_type().ok()?.is_dir() {
                dirs.push(entry.path());
            } else {
                count += 1;
            }
            if count >= most {
                return Some(count);
            }
        }
    }
    Some(count)
}

/// As a kubelet names them: the time, and a number that makes it unique.
fn new_name() -> String {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let number = RandomState::new().build_hasher().finish() % 10_000_000_000;
    format!("..{}.{number}", now.strftime("%Y_%m_%d_%H_%M_%S"))
}

#[cfg(test)]
mod tests;
