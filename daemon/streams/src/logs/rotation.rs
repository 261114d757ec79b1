//! Which file comes after the one that is being read, and which came before.
//!
//! Rotation renames `0.log` to `0.log.<time>` and lets the runtime open a new `0.log`; before the next one it compresses what was
//! rotated (behaviour.md 38.7). The reader keeps its file open and finds out by its inode, or, when its file is compressed or removed
//! by then, by the time of its last line: a compressed file has the time of the plain one. A slow reader may be several rotations
//! behind, so the next file is looked for among all of them.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::rotated::{Form, Rotated};

/// Of a compressed file, unpacked.
const UNPACKED_BYTES: usize = 32 * 1024;

/// Which file it is, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// When a file was written to last.
type Written = (i64, i64);

fn written(metadata: &Metadata) -> Written {
    (metadata.mtime(), metadata.mtime_nsec())
}

/// What a log file's bytes are read from.
#[derive(Debug)]
pub(super) enum Source {
    /// It may still grow.
    Plain(File),
    /// Read from its beginning, once.
    Compressed(Box<BufReader<MultiGzDecoder<File>>>),
}

/// An opened log file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) source: Source,
    pub(super) place: Place,
    /// Where its bytes begin that are wanted; of a compressed one they come next.
    pub(super) start: u64,
    /// Its size when it was opened, in bytes of the disk.
    pub(super) size: u64,
}

/// Which of a log's files one is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    id: FileId,
    written: Written,
    /// Of its name, once it is known to be rotated.
    suffix: Option<String>,
}

impl LogFile {
    fn new(file: File, suffix: Option<&str>, form: Form) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let place = Place {
            id: FileId::of(&metadata),
            written: written(&metadata),
            suffix: suffix.map(ToOwned::to_owned),
        };
        let source = match form {
            Form::Compressed => Source::Compressed(Box::new(unpacked(file))),
            _ => Source::Plain(file),
        };
        Ok(Self { source, place, start: 0, size: metadata.len() })
    }

    /// Whether nothing was written to it since. A line may have a later time than its file: those of files are some milliseconds behind.
    pub(super) fn is_before(&self, second: i64) -> bool {
        self.place.written.0.saturating_add(1) < second
    }

    /// Leaves out all but the last `count` lines; tells how many there are fewer than that.
    pub(super) fn keep_last(&mut self, count: u64) -> io::Result<u64> {
        match &mut self.source {
            Source::Plain(file) => {
                let (start, missing) = super::tail::start_of_last(file, self.size, count)?;
                self.start = start;
                Ok(missing)
            }
            Source::Compressed(unread) => {
                let file = unread.get_ref().get_ref().try_clone()?;
                let mut lines = 0_u64;
                // Both share one offset, so the second begins after the first has ended.
                rewind(&file)?;
                let mut counted = unpacked(file.try_clone()?);
                while counted.skip_until(b'\n')? > 0 {
                    lines += 1;
                }
                rewind(&file)?;
                **unread = unpacked(file);
                for _ in 0..lines.saturating_sub(count) {
                    unread.skip_until(b'\n')?;
                }
                Ok(count.saturating_sub(lines))
            }
        }
    }

    /// The file, if it may still grow.
    pub(super) fn plain(&self) -> Option<&File> {
        match &self.source {
            Source::Plain(file) => Some(file),
            Source::Compressed(_) => None,
        }
    }

    /// The same as [`Self::read`] of what the page cache has; `None` where a disk would have to be waited for.
    pub(super) fn read_cached(&self, block: &mut [u8], offset: u64) -> Option<usize> {
        let Source::Plain(file) = &self.source else { return None };
        let mut blocks = [io::IoSliceMut::new(block)];
        // Some file systems cannot say.
        rustix::io::preadv2(file, &mut blocks, offset, rustix::io::ReadWriteFlags::NOWAIT).ok()
    }

    /// As many bytes as `block` takes, from `offset` on or, of a compressed one, the next; fewer only at the end.
    pub(super) fn read(&mut self, mut block: &mut [u8], offset: u64) -> io::Result<usize> {
        match &mut self.source {
            Source::Plain(file) => file.read_at(block, offset),
            Source::Compressed(unread) => {
                let most = block.len();
                while !block.is_empty() {
                    match unread.read(block) {
                        Ok(0) => break,
                        Ok(read) => block = &mut block[read..],
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        // What came before is good; the next read tells.
                        Err(_) if block.len() < most => break,
                        Err(e) => return Err(e),
                    }
                }
                Ok(most - block.len())
            }
        }
    }
}

fn unpacked(file: File) -> BufReader<MultiGzDecoder<File>> {
    BufReader::with_capacity(UNPACKED_BYTES, MultiGzDecoder::new(file))
}

fn rewind(mut file: &File) -> io::Result<()> {
    io::Seek::rewind(&mut file)
}

/// Opens a log file and nothing else: a pipe in its place must not hang the reader.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC).open(path)
}

/// Opens the log at `path`. Where it has just been rotated, the runtime still writes to the newest rotated file.
pub(super) fn open(path: &Path) -> io::Result<LogFile> {
    /// A rotation between the two looks.
    const TRIES: u32 = 10;
    let mut missing = io::ErrorKind::NotFound.into();
    for _ in 0..TRIES {
        missing = match open_file(path) {
            Ok(file) => return LogFile::new(file, None, Form::Plain),
            Err(e) if e.kind() == io::ErrorKind::NotFound => e,
            Err(e) => return Err(e),
        };
        // A log whose directory is missing has no rotated files either.
        let rotated = rotated(path).unwrap_or_default();
        let Some((suffix, beside)) = rotated.last_key_value() else { return Err(missing) };
        match beside.open(path, suffix) {
            Ok(newest) if !fs::exists(path)? => return Ok(newest),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Err(missing)
}

/// The file after the one that is being read.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) log: LogFile,
    /// It is rotated itself, so that nothing is written to its predecessor any more.
    pub(super) is_rotated: bool,
}

/// The file that comes after the one at `place`, if `path` names another one by now, or names none while later ones were rotated.
/// `own` is that file, where it is not compressed.
pub(super) fn successor(path: &Path, place: &mut Place, own: Option<&File>) -> io::Result<Option<Successor>> {
    if let Some(own) = own {
        place.written = written(&own.metadata()?);
    }
    let named = match fs::metadata(path) {
        Ok(metadata) if FileId::of(&metadata) == place.id => return Ok(None),
        Ok(metadata) => Some(FileId::of(&metadata)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let mut later = rotated(path)?;
    if place.suffix.is_none() {
        let found = later.iter().find(|(_, beside)| beside.plain == Some(place.id));
        place.suffix = found.map(|(suffix, _)| suffix.clone());
    }
    match &place.suffix {
        Some(suffix) => later.retain(|other, _| other > suffix),
        // The own file is removed or compressed. What was written to after it comes after it.
        None => later.retain(|_, beside| beside.written > place.written),
    }
    let opened = match (later.first_key_value(), named) {
        (Some((suffix, beside)), _) => beside.open(path, suffix),
        (None, Some(_)) => open_file(path).and_then(|file| LogFile::new(file, None, Form::Plain)),
        (None, None) => return Ok(None),
    };
    let is_rotated = !later.is_empty();
    match opened {
        // Rotated since it was looked at: this is a later one, and the one that was found is among the rotated by now.
        Ok(log) if !is_rotated && Some(log.place.id) != named => Ok(None),
        Ok(log) => Ok(Some(Successor { log, is_rotated })),
        // Renamed or compressed just now: the caller looks again.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The rotated files before `current`, the newest first, each opened when it is asked for. Ends where one is gone: those before it
/// are older still.
pub(super) fn before(
    path: &Path,
    current: &LogFile,
) -> io::Result<impl Iterator<Item = io::Result<LogFile>>> {
    let mut earlier = rotated(path)?;
    let own = match &current.place.suffix {
        Some(suffix) => Some(suffix.clone()),
        None => {
            let found = earlier.iter().find(|(_, beside)| beside.plain == Some(current.place.id));
            found.map(|(suffix, _)| suffix.clone())
        }
    };
    if let Some(own) = own {
        earlier.retain(|suffix, _| *suffix < own);
    }
    let path = path.to_owned();
    let opened = earlier.into_iter().rev().map(move |(suffix, beside)| match beside.open(&path, &suffix) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened),
    });
    Ok(opened.map_while(|opened| opened))
}

/// The forms of one rotated file that were found.
#[derive(Debug)]
struct Beside {
    plain: Option<FileId>,
    written: Written,
}

impl Beside {
    /// Opens it in the form that it has by now.
    fn open(&self, path: &Path, suffix: &str) -> io::Result<LogFile> {
        let log = path.file_name().unwrap_or_default().to_string_lossy();
        let open = |form| {
            let name = Rotated { suffix, form }.name(&log);
            open_file(&path.with_file_name(name)).and_then(|file| LogFile::new(file, Some(suffix), form))
        };
        if self.plain.is_some() {
            match open(Form::Plain) {
                // Compressed since it was found.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        open(Form::Compressed)
    }
}

/// Rotated files by their suffix, the oldest first.
fn rotated(path: &Path) -> io::Result<BTreeMap<String, Beside>> {
    let mut files: BTreeMap<String, Beside> = BTreeMap::new();
    let (Some(dir), Some(log)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(files);
    };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(found) = name.to_str().and_then(|name| Rotated::of(log, name)) else { continue };
        if found.form == Form::Unfinished {
            continue;
        }
        let metadata = match entry.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => continue,
        };
        let plain = (found.form == Form::Plain).then(|| FileId::of(&metadata));
        let beside = Beside { plain, written: written(&metadata) };
        match files.entry(found.suffix.to_owned()) {
            std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(beside)),
            // Both forms: it was compressed just now. The plain one has the inode that readers know.
            std::collections::btree_map::Entry::Occupied(mut other) if plain.is_some() => {
                other.insert(beside);
            }
            std::collections::btree_map::Entry::Occupied(_) => {}
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
