//! The ledger's files: checksummed, replaced in one step, synced.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use md5::{Digest as _, Md5};
use thiserror::Error;

use super::Record;

/// No pod is larger than what the API server takes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// What is being written, and what was damaged.
const UNFINISHED: &str = ".new";
const DAMAGED: &str = ".damaged";
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Why the ledger cannot be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The directory or a file.
    #[error("{doing} {path}", path = path.display())]
    File {
        /// What was done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The thread that writes ended.
    #[error("the thread that writes the ledger ended: {0}")]
    Panicked(String),
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::File { doing, path, source }
}

/// Reads every pod; what is damaged or unfinished is put aside or removed.
pub(super) fn read_all(dir: &Path) -> Result<HashMap<String, Record>, LedgerError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file("making", dir))?;
    let mut records = HashMap::new();
    for entry in fs::read_dir(dir).map_err(file("reading", dir))? {
        let path = entry.map_err(file("reading", dir))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if name.ends_with(UNFINISHED) {
            // A write that a crash cut off; the whole one stands beside it.
            let _ = fs::remove_file(&path);
            continue;
        }
        if name.ends_with(DAMAGED) {
            continue;
        }
        match read(&path, name) {
            Ok(record) => {
                records.insert(name.to_owned(), record);
            }
            Err(why) => {
                tracing::warn!(path = %path.display(), why, "a kept pod is damaged; it is put aside and taken from its source again");
                let aside = path.with_file_name(format!("{name}{DAMAGED}"));
                fs::rename(&path, &aside).map_err(file("putting aside", &path))?;
            }
        }
    }
    Ok(records)
}

fn read(path: &Path, uid: &str) -> Result<Record, String> {
    let length = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > MAX_BYTES {
        return Err(format!("{length} bytes are more than {MAX_BYTES}"));
    }
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    let record = decode(&bytes)?;
    if record.pod.metadata.uid.as_deref() != Some(uid) {
        return Err("it holds another pod".to_owned());
    }
    Ok(record)
}

/// The record in a file's bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, String> {
    let end = bytes.iter().position(|b| *b == b'\n').ok_or("it has no checksum")?;
    let (sum, json) = (&bytes[..end], &bytes[end + 1..]);
    if sum != checksum(json).as_bytes() {
        return Err("its checksum does not fit".to_owned());
    }
    // As text, as what comes from the API server: each way to read a pod is a tenth of a megabyte of program.
    serde_json::from_str(str::from_utf8(json).map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let json = serde_json::to_vec(record).expect("a pod can be written as JSON");
    let mut bytes = checksum(&json).into_bytes();
    bytes.push(b'\n');
    bytes.extend_from_slice(&json);
    bytes
}

fn checksum(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A file that is to be brought to its record; without one it is removed.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) uid: String,
    pub(super) record: Option<Record>,
    /// Whether it must survive the machine, and not only the daemon.
    pub(super) synced: bool,
}

/// Does the last step of a change, unless it is no more what the file should be; tells whether it did.
pub(super) type Guard<'a> = dyn Fn(&Change, &dyn Fn() -> io::Result<()>) -> io::Result<bool> + 'a;

/// Brings the files of a batch to their records.
pub(super) fn write_all(dir: &Path, batch: &[Change], guard: &Guard<'_>) -> Result<(), LedgerError> {
    for change in batch {
        write(dir, change, guard)?;
    }
    if !batch.iter().any(|change| change.synced) {
        return Ok(());
    }
    File::open(dir).and_then(|d| d.sync_all()).map_err(file("syncing", dir))
}

/// Brings one file to its record.
pub(super) fn write(dir: &Path, change: &Change, guard: &Guard<'_>) -> Result<(), LedgerError> {
    let path = dir.join(&change.uid);
    let Some(record) = &change.record else {
        let remove = || match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        return guard(change, &remove).map(drop).map_err(file("removing", &path));
    };
    // Two threads may write the same pod: neither writes into the other's file.
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let unfinished = path.with_added_extension(format!("{number}{UNFINISHED}"));
    let fill = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&encode(record))?;
        if change.synced { file.sync_data() } else { Ok(()) }
    };
    fill().map_err(file("writing", &unfinished))?;
    if guard(change, &|| fs::rename(&unfinished, &path)).map_err(file("replacing", &path))? {
        return Ok(());
    }
    fs::remove_file(&unfinished).map_err(file("removing", &unfinished))
}
