//! Rotated logs are compressed here: on threads of their own with the lowest priority, a few at a time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};

use crate::cause::chain;

/// Files that wait; what comes beyond is named again by the next rotation of its log.
const QUEUE: usize = 1024;
const BLOCK_BYTES: usize = 64 * 1024;
/// What the encoder and its buffers need is on the heap.
const STACK_BYTES: usize = 256 * 1024;
/// The lowest priority; that of the disk follows from it.
const NICE: i32 = 19;

/// A log could not be compressed.
#[derive(Debug, Error)]
#[error("{doing} {path}", path = path.display())]
pub(super) struct CompressError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Compressor {
    slots: Arc<Semaphore>,
    busy: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Compressor {
    /// So many files at a time.
    pub(super) fn new(workers: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(workers)), busy: Arc::default() }
    }

    /// The names of the files in `dir` that wait or are being compressed.
    pub(super) fn busy_in(&self, dir: &Path) -> BTreeSet<String> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let here = busy.iter().filter(|path| path.parent() == Some(dir));
        here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
    }

    /// Compresses a file when its turn comes, unless it waits already.
    pub(super) fn add(&self, path: PathBuf) {
        let this = self.clone();
        {
            let mut busy = this.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if busy.len() >= QUEUE || !busy.insert(path.clone()) {
                return;
            }
        }
        tokio::spawn(async move {
            // The semaphore is never closed.
            let slot = this.slots.acquire().await;
            if let Err(error) = on_a_thread(path.clone()).await {
                tracing::warn!("a rotated log stays as it is: {}", chain(&error));
            }
            drop(slot);
            this.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
        });
    }
}

async fn on_a_thread(path: PathBuf) -> Result<(), CompressError> {
    let (done, outcome) = oneshot::channel();
    let failed = |source| CompressError { doing: "starting a thread for", path: path.clone(), source };
    let file = path.clone();
    let thread = std::thread::Builder::new().name("log-gzip".to_owned()).stack_size(STACK_BYTES);
    thread
        .spawn(move || {
            // Without it, it is only less kind to others.
            let _ = rustix::process::setpriority_process(None, NICE);
            let _ = done.send(compress(&file));
        })
        .map_err(failed)?;
    outcome.await.unwrap_or_else(|_| Err(failed(io::Error::other("the thread broke off"))))
}

/// `LOG` to `LOG.gz` by way of `LOG.tmp`: whenever it is cut off, one of the first two is whole. The compressed file has the time of
/// the plain one: readers tell by it which comes after which. A file that is gone, or goes meanwhile, needs nothing.
pub(super) fn compress(path: &Path) -> Result<(), CompressError> {
    let temporary = with_end(path, ".tmp");
    let failed = |doing, path: &Path, source| CompressError { doing, path: path.to_owned(), source };
    let log = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|e| failed("opening", path, e))?,
    };
    let written = write(&log, &temporary).map_err(|e| failed("compressing to", &temporary, e));
    let finished = written.and_then(|()| replace(path, &temporary));
    if finished.is_err() {
        // It is found by the next rotation where it cannot be removed.
        let _ = fs::remove_file(&temporary);
    }
    finished
}

/// `LOG.tmp` takes the place of `LOG`, as `LOG.gz`, unless a rotation has found it too old meanwhile: that removes the plain file and
/// then the compressed one, so that one of both sees to it whichever comes first.
fn replace(path: &Path, temporary: &Path) -> Result<(), CompressError> {
    let compressed = with_end(path, ".gz");
    let failed = |doing, path: &Path, source| CompressError { doing, path: path.to_owned(), source };
    let removed = |path: &Path| match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true).map_err(|e| failed("removing", path, e)),
    };
    match fs::rename(temporary, &compressed) {
        // It went with its pod.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(|e| failed("renaming to", &compressed, e))?,
    }
    if !removed(path)? {
        removed(&compressed)?;
    }
    Ok(())
}

fn write(log: &File, temporary: &Path) -> io::Result<()> {
    let metadata = log.metadata()?;
    let mode = metadata.mode() & 0o777;
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(temporary)?;
    let mut encoder = GzEncoder::new(file, Compression::fast());
    io::copy(&mut BufReader::with_capacity(BLOCK_BYTES, log), &mut encoder)?;
    let file = encoder.finish()?;
    file.set_times(FileTimes::new().set_modified(metadata.modified()?))?;
    // The plain file goes when this one has its name: it must be there after a power cut.
    file.sync_data()
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    use flate2::read::GzDecoder;

    #[test]
    fn a_compressed_log_has_the_lines_and_the_time_of_the_plain_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log.20261126-011105");
        let text = "2026-11-23T00:00:01Z stdout F a line\n".repeat(10_000);
        fs::write(&log, &text).unwrap();
        let time = fs::metadata(&log).unwrap().modified().unwrap();
        // A try that was killed.
        fs::write(with_end(&log, ".tmp"), "half").unwrap();
        compress(&log).unwrap();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["0.log.20261126-011105.gz"]);
        let file = File::open(dir.path().join(&names[0])).unwrap();
        assert_eq!(file.metadata().unwrap().modified().unwrap(), time);
        let mut read = String::new();
        GzDecoder::new(file).read_to_string(&mut read).unwrap();
        assert!(read == text);
        compress(&log).unwrap();
    }

    #[test]
    fn a_log_that_a_rotation_has_removed_meanwhile_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log.1");
        let temporary = with_end(&log, ".tmp");
        fs::write(&temporary, "compressed").unwrap();
        replace(&log, &temporary).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // The whole directory, with its pod.
        drop(dir);
        replace(&log, &temporary).unwrap();
    }

    #[test]
    fn what_cannot_be_compressed_stays_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log.1");
        fs::write(&log, "text").unwrap();
        fs::create_dir(with_end(&log, ".tmp")).unwrap();
        let error = compress(&log).unwrap_err();
        assert!(error.to_string().contains("0.log.1.tmp"), "{error}");
        assert_eq!(fs::read_to_string(&log).unwrap(), "text");
    }

    #[tokio::test]
    async fn a_file_is_in_work_once_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log.1");
        fs::write(&log, "text").unwrap();
        let compressor = Compressor::new(1);
        compressor.add(log.clone());
        compressor.add(log.clone());
        assert_eq!(compressor.busy_in(dir.path()), BTreeSet::from(["0.log.1".to_owned()]));
        assert!(compressor.busy_in(Path::new("/elsewhere")).is_empty());
        let done = async {
            while !compressor.busy_in(dir.path()).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), done).await.unwrap();
        assert!(!log.exists() && with_end(&log, ".gz").exists());
    }
}
