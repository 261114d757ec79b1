//! Static pods from a directory of manifests, or from a single file. behaviour.md 1.2, 1.3.
//!
//! inotify says that something changed, a listing says what is there: after any change, and each `fileCheckFrequency` in any
//! case, the whole directory is read. A file whose size, times and inode are the same is not parsed again. Events that
//! come in a burst are waited for briefly, so that a file being written is read once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::manifest::{self, Context};
use super::mirror::Mirrors;
use super::{Source, Update};
use crate::events::Recorder;

const MAX_FILE_BYTES: u64 = 10 << 20;
/// A directory with more manifests than this is a mistake; the first ones in order are taken.
const MAX_FILES: usize = 1_000;
const WATCH_BUFFER: usize = 4_096;
/// Waiting for the rest of a burst of changes.
const SETTLE: Duration = Duration::from_millis(50);

/// What the source needs.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// `staticPodPath`: a directory or one file.
    pub path: PathBuf,
    pub check_frequency: Duration,
    pub node_name: String,
    /// Gate `PreventStaticPodAPIReferences`.
    pub refuse_references: bool,
}

/// Identity of a file's content, as far as it can be had without reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

#[derive(Debug, Clone)]
struct Known {
    stamp: Stamp,
    pod: Option<Arc<Pod>>,
}

/// Follows the path until `stop`, or until nobody takes updates any more.
pub async fn run(
    source: FileSource,
    updates: mpsc::Sender<Update>,
    mirrors: Mirrors,
    recorder: Recorder,
    mut stop: watch::Receiver<bool>,
) {
    let mut listing = Listing { source: source.clone(), recorder, known: BTreeMap::new(), last_error: None };
    let mut events = watch_path(&source.path);
    let mut told: Option<Vec<Arc<Pod>>> = None;
    loop {
        if let Some(pods) = listing.read()
            && told.as_ref() != Some(&pods)
        {
            for pod in &pods {
                mirrors.ensure(pod);
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                // An update that is not taken is lost only together with the daemon.
                sent = updates.send(Update::Listed { source: Source::File, pods: pods.clone() }) => if sent.is_err() { return },
            }
            if told.is_none() {
                mirrors.source_listed();
            }
            told = Some(pods);
        }
        let next_check = Instant::now() + source.check_frequency;
        tokio::select! {
            // Cancel-safe: a level.
            _ = stop.wait_for(|stop| *stop) => return,
            // Cancel-safe: only a time. A path that did not exist may exist now.
            () = sleep_until(next_check) => {
                if events.is_none() {
                    events = watch_path(&source.path);
                }
            }
            // Cancel-safe: an event that is lost here is found by the next listing.
            alive = changed(&mut events) => if !alive { events = watch_path(&source.path) },
        }
    }
}

/// Waits for a change and the end of its burst; false when the watch is broken. For ever when there is none.
async fn changed(events: &mut Option<EventStream<Vec<u8>>>) -> bool {
    let Some(stream) = events else { return std::future::pending().await };
    let mut alive =
        matches!(stream.next().await, Some(Ok(event)) if !event.mask.contains(inotify::EventMask::IGNORED));
    let settled = sleep(SETTLE);
    tokio::pin!(settled);
    while alive {
        tokio::select! {
            () = &mut settled => break,
            event = stream.next() => alive = matches!(event, Some(Ok(event)) if !event.mask.contains(inotify::EventMask::IGNORED)),
        }
    }
    alive
}

/// Watches the directory, or the directory of the file; `None` while it does not exist.
fn watch_path(path: &Path) -> Option<EventStream<Vec<u8>>> {
    let directory = if path.is_file() { path.parent()? } else { path };
    let watched = Inotify::init().and_then(|inotify| {
        let mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::MODIFY
            | WatchMask::ATTRIB
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        inotify.watches().add(directory, mask)?;
        inotify.into_event_stream(vec![0; WATCH_BUFFER])
    });
    match watched {
        Ok(stream) => Some(stream),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %directory.display(), %error, "manifests cannot be watched; they are read at intervals only");
            None
        }
    }
}

struct Listing {
    source: FileSource,
    recorder: Recorder,
    known: BTreeMap<PathBuf, Known>,
    last_error: Option<String>,
}

impl Listing {
    /// All pods in order of their files; `None` when the directory could not be read, so that nothing is taken for gone.
    fn read(&mut self) -> Option<Vec<Arc<Pod>>> {
        let files = match manifest_files(&self.source.path) {
            Ok(files) => files,
            Err(error) => {
                let error = format!("{}: {error}", self.source.path.display());
                if self.last_error.as_ref() != Some(&error) {
                    tracing::error!("manifests cannot be listed: {error}");
                }
                self.last_error = Some(error);
                return None;
            }
        };
        self.last_error = None;
        self.known.retain(|path, _| files.contains(path));
        let mut pods: Vec<Arc<Pod>> = Vec::new();
        for path in files {
            let Some(pod) = self.pod(&path) else { continue };
            let twin = pods.iter().find(|known| {
                known.metadata.name == pod.metadata.name && known.metadata.namespace == pod.metadata.namespace
            });
            match twin {
                None => pods.push(pod),
                // Said once for each file and content: an unchanged file is not looked at again.
                Some(_) => {
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    let message = format!(
                        "Error validating pod {name} from file {}: another manifest has the same name",
                        path.display()
                    );
                    tracing::error!("{message}");
                    self.recorder.pod_event(&pod, None, true, "FailedValidation", message);
                    if let Some(known) = self.known.get_mut(&path) {
                        known.pod = None;
                    }
                }
            }
        }
        Some(pods)
    }

    fn pod(&mut self, path: &Path) -> Option<Arc<Pod>> {
        let stamp = match fs::metadata(path) {
            Ok(metadata) => stamp_of(&metadata),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "manifest cannot be read");
                return None;
            }
        };
        let before = self.known.get(path);
        if let Some(known) = before.filter(|known| known.stamp == stamp) {
            return known.pod.clone();
        }
        let read = read_text(path).map_err(|error| format!("{}: {error}", path.display())).and_then(|text| {
            let context = Context {
                node_name: &self.source.node_name,
                refuse_references: self.source.refuse_references,
                source: Source::File,
            };
            manifest::read(&text, path, context).map_err(|error| error.to_string())
        });
        let pod = match read {
            Ok(manifest) => {
                for field in &manifest.unknown_fields {
                    tracing::warn!("manifest {field}; it is ignored");
                }
                Some(Arc::new(keep_seen(manifest.pod, before.and_then(|known| known.pod.as_deref()))))
            }
            Err(error) => {
                tracing::error!("manifest is not run: {error}");
                None
            }
        };
        self.known.insert(path.to_path_buf(), Known { stamp, pod: pod.clone() });
        pod
    }
}

/// A touched file with the same content is the same pod: it keeps the time when it was seen first.
fn keep_seen(mut pod: Pod, before: Option<&Pod>) -> Pod {
    if let Some(before) = before.filter(|before| before.metadata.uid == pod.metadata.uid) {
        let seen = super::annotation(before, super::CONFIG_SEEN).map(str::to_owned);
        if let (Some(seen), Some(annotations)) = (seen, &mut pod.metadata.annotations) {
            annotations.insert(super::CONFIG_SEEN.to_owned(), seen);
        }
    }
    pod
}

/// The files that are manifests, sorted by name. A missing path is an empty one.
fn manifest_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        metadata => metadata?,
    };
    if metadata.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Links are followed, as the kubelet does; only what is a regular file at their end counts.
        if !hidden && fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
            files.push(entry.path());
        }
    }
    files.sort();
    if files.len() > MAX_FILES {
        tracing::error!(path = %path.display(), "more than {MAX_FILES} manifests; the rest is left out");
        files.truncate(MAX_FILES);
    }
    Ok(files)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn stamp_of(metadata: &fs::Metadata) -> Stamp {
    Stamp {
        inode: metadata.ino(),
        size: metadata.size(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    }
}

#[cfg(test)]
mod tests;
