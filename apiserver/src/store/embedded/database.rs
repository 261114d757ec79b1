//! The file: its tables, its creation, and one commit.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{
    CommitError, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableError, TransactionError,
};

use super::operation::Written;
use super::undo::{self, Kept, Malformed, Undo};
use super::writer::Write;
use crate::store::{Change, Content, Failure, OpenError, Page, Range, ReadError, Record, WriteError};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const UNDO: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("undo");

/// What the tables look like. Counts up with every change that an older program would misread.
const FORMAT: u64 = 1;
const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";
/// The revision of the last change that was pruned: all changes above it are in the file.
const META_FLOOR: &str = "floor";

/// Reads come from the watch cache; redb needs room for the upper pages of its trees only.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// An open file and what it says about itself.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) revision: u64,
    pub(super) floor: u64,
    pub(super) kept: Kept,
}

/// What redb or the content of the file has against an operation.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("another process uses it")]
    InUse,
    #[error("format {0} is newer")]
    Newer(u64),
    #[error("{0}")]
    Corrupt(String),
    #[error("no space left")]
    NoSpace,
    #[error("{0}")]
    Io(io::Error),
}

impl Trouble {
    pub(super) fn into_failure(self, path: &Path) -> Failure {
        let path = path.to_owned();
        match self {
            Self::NoSpace => Failure::NoSpace { path },
            Self::Corrupt(reason) => Failure::Corrupt { path, reason },
            other @ (Self::InUse | Self::Newer(_) | Self::Io(_)) => {
                Failure::Io { path, reason: other.to_string() }
            }
        }
    }

    fn into_open_error(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::InUse => OpenError::InUse { path },
            Self::Newer(found) => OpenError::Newer { path, found, supported: FORMAT },
            Self::Corrupt(reason) => OpenError::Corrupt { path, reason },
            Self::NoSpace => OpenError::NoSpace { path },
            Self::Io(source) => OpenError::Io { path, source },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            // redb's words for a file that is not its own or that ends too early.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Corrupt(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => error.into(),
            StorageError::Corrupted(reason) => Self::Corrupt(reason),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse,
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(version) => {
                Self::Corrupt(format!("redb's file format is {version}"))
            }
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<TableError> for Trouble {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<TransactionError> for Trouble {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<CommitError> for Trouble {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<Malformed> for Trouble {
    fn from(error: Malformed) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// Opens or creates the file and checks all of it.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let existing = match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(OpenError::Io { path: path.to_owned(), source }),
    };
    let opened = if existing { Ok(()) } else { create(path) };
    opened.and_then(|()| open_existing(path, true)).map_err(|trouble| trouble.into_open_error(path))
}

/// Opens the file again after a failed write. The checks of the first time are not repeated, but redb's repair is.
pub(super) fn reopen(path: &Path) -> Result<Opened, Trouble> {
    open_existing(path, false)
}

/// Makes an empty store beside its place and moves it there when it is complete: a file that exists is never taken for a new one.
fn create(path: &Path) -> Result<(), Trouble> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let database = builder(false).create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        for (name, value) in [(META_FORMAT, FORMAT), (META_REVISION, 0), (META_FLOOR, 0)] {
            meta.insert(name, value)?;
        }
        transaction.open_table(OBJECTS)?;
        transaction.open_table(UNDO)?;
    }
    transaction.commit()?;
    drop(database);
    // A link, not a rename: it does not replace a store that another process has made in the meantime.
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    if let Some(directory) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn builder(check: bool) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
    builder
}

fn open_existing(path: &Path, check: bool) -> Result<Opened, Trouble> {
    let metadata = fs::metadata(path)?;
    if metadata.len() == 0 {
        return Err(Trouble::Corrupt("it is empty".to_owned()));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    // redb's debug builds panic where its release builds report damage.
    catch_unwind(AssertUnwindSafe(|| {
        let database = builder(check).open(path)?;
        describe(database)
    }))
    .unwrap_or_else(|_| Err(Trouble::Corrupt("redb cannot make sense of it".to_owned())))
}

fn describe(database: Database) -> Result<Opened, Trouble> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |name: &str| -> Result<u64, Trouble> {
        let value = meta.get(name)?.ok_or_else(|| Trouble::Corrupt(format!("it does not say its {name}")))?;
        Ok(value.value())
    };
    let format = number(META_FORMAT)?;
    if format > FORMAT {
        return Err(Trouble::Newer(format));
    }
    let (revision, floor) = (number(META_REVISION)?, number(META_FLOOR)?);
    let mut kept = Kept::default();
    for entry in transaction.open_table(UNDO)?.iter()? {
        let (revision, bytes) = entry?;
        kept.add(revision.value(), bytes.value().len());
    }
    drop(meta);
    drop(transaction);
    Ok(Opened { database, revision, floor, kept })
}

/// What a commit did, or would have done.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) result: Result<(), Trouble>,
    /// In the order of the writes.
    pub(super) answers: Vec<Result<Written, WriteError>>,
    pub(super) changes: Vec<Change>,
    pub(super) kept: Kept,
    pub(super) floor: u64,
}

/// What the writes of a group do, one after the other, each on top of those before it. Nothing of it lasts before the commit.
pub(super) struct Prepared {
    transaction: redb::WriteTransaction,
    commit: Commit,
}

pub(super) fn prepare(
    database: &Database,
    writes: &[Write],
    next_revision: u64,
    floor: u64,
    mut kept: Kept,
) -> Result<Prepared, Trouble> {
    let transaction = database.begin_write()?;
    let mut floor = floor;
    let mut answers = Vec::with_capacity(writes.len());
    let mut changes: Vec<Change> = Vec::with_capacity(writes.len());
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut undo = transaction.open_table(UNDO)?;
        let mut encoded = Vec::new();
        for write in writes {
            let before = match objects.get(&*write.key)? {
                Some(bytes) => Some(undo::decode_record(bytes.value())?),
                None => None,
            };
            let revision = next_revision + changes.len() as u64;
            let change = match write.operation.clone().change(&write.key, before, revision) {
                Ok(change) => change,
                Err(refused) => {
                    answers.push(Err(refused));
                    continue;
                }
            };
            match &change.after {
                Some(record) => {
                    encoded.clear();
                    undo::encode_record(record, &mut encoded);
                    objects.insert(&*change.key, encoded.as_slice())?;
                }
                None => {
                    objects.remove(&*change.key)?;
                }
            }
            let entry = Undo::encode(&change);
            undo.insert(revision, entry.as_slice())?;
            kept.add(revision, entry.len());
            answers.push(Ok(Written { revision, record: change.after.clone() }));
            changes.push(change);
        }
        while let Some(revision) = kept.prune() {
            undo.remove(revision)?;
            floor = revision;
        }
        if let Some(last) = changes.last() {
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_REVISION, last.revision)?;
            meta.insert(META_FLOOR, floor)?;
        }
    }
    Ok(Prepared { transaction, commit: Commit { result: Ok(()), answers, changes, kept, floor } })
}

impl Prepared {
    /// Makes the writes last: returns when the disk has them.
    pub(super) fn commit(mut self) -> Commit {
        self.commit.result = if self.commit.changes.is_empty() {
            self.transaction.abort().map_err(Trouble::from)
        } else {
            self.transaction.commit().map_err(Trouble::from)
        };
        self.commit
    }
}

/// Everything in the file.
pub(super) fn content(opened: &Opened) -> Result<Content, Trouble> {
    let transaction = opened.database.begin_read()?;
    let mut records: Vec<(Arc<str>, Record)> = Vec::new();
    for entry in transaction.open_table(OBJECTS)?.iter()? {
        let (key, bytes) = entry?;
        records.push((key.value().into(), undo::decode_record(bytes.value())?));
    }
    let changes = changes_since(opened, 0)?;
    Ok(Content { revision: opened.revision, records, floor: opened.floor, changes })
}

/// The changes above a revision, as far as they are kept.
pub(super) fn changes_since(opened: &Opened, revision: u64) -> Result<Vec<Change>, Trouble> {
    let transaction = opened.database.begin_read()?;
    let mut entries = Vec::new();
    for entry in transaction.open_table(UNDO)?.range(revision.saturating_add(1)..)? {
        let (revision, bytes) = entry?;
        entries.push(Undo::decode(revision.value(), bytes.value())?);
    }
    let objects = transaction.open_table(OBJECTS)?;
    let mut now: BTreeMap<Arc<str>, Option<Record>> = BTreeMap::new();
    for entry in &entries {
        if !now.contains_key(&entry.key) {
            let record = match objects.get(&*entry.key)? {
                Some(bytes) => Some(undo::decode_record(bytes.value())?),
                None => None,
            };
            now.insert(entry.key.clone(), record);
        }
    }
    Ok(undo::rebuild(entries, |key| now.get(key).cloned().flatten())?)
}

pub(super) fn get(opened: &Opened, key: &str) -> Result<Option<Record>, Trouble> {
    let transaction = opened.database.begin_read()?;
    match transaction.open_table(OBJECTS)?.get(key)? {
        Some(bytes) => Ok(Some(undo::decode_record(bytes.value())?)),
        None => Ok(None),
    }
}

pub(super) fn list(opened: &Opened, range: &Range, path: &Path) -> Result<Page, ReadError> {
    let failed = |trouble: Trouble| ReadError::Failed(trouble.into_failure(path));
    let at = range.revision.unwrap_or(opened.revision);
    if at > opened.revision {
        return Err(ReadError::Future { requested: at, current: opened.revision });
    }
    if at < opened.floor {
        return Err(ReadError::Compacted { requested: at, floor: opened.floor });
    }
    let mut records = all_below(opened, &range.prefix).map_err(failed)?;
    for change in changes_since(opened, at).map_err(failed)?.into_iter().rev() {
        if !change.key.starts_with(&range.prefix) {
            continue;
        }
        match change.before {
            Some(before) => records.insert(change.key, before),
            None => records.remove(&change.key),
        };
    }
    let mut records: Vec<_> = records
        .into_iter()
        .filter(|(key, _)| range.start_after.as_deref().is_none_or(|after| &**key > after))
        .collect();
    let more = range.limit > 0 && records.len() > range.limit;
    if more {
        records.truncate(range.limit);
    }
    Ok(Page { revision: at, records, more })
}

fn all_below(opened: &Opened, prefix: &str) -> Result<BTreeMap<Arc<str>, Record>, Trouble> {
    let transaction = opened.database.begin_read()?;
    let mut records = BTreeMap::new();
    for entry in transaction.open_table(OBJECTS)?.range(prefix..)? {
        let (key, bytes) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        records.insert(key.value().into(), undo::decode_record(bytes.value())?);
    }
    Ok(records)
}
