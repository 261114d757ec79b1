//! Waiting until a log may have grown or been rotated.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};

/// However many events are lost, a look is taken this often (behaviour.md 38.4).
pub(super) const POLL: Duration = Duration::from_secs(1);

const BUFFER_BYTES: usize = 4096;

/// Tells of changes in a log's directory. Without inotify (a user may have no more than 128 of them by default) it is
/// the poll alone.
#[derive(Debug)]
pub(super) struct Changes {
    log: OsString,
    events: Option<EventStream<Vec<u8>>>,
}

impl Changes {
    pub(super) fn of(path: &Path) -> Self {
        let events = match watch(path) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "the log is polled, inotify is not to be had");
                None
            }
        };
        Self { log: path.file_name().unwrap_or_default().to_owned(), events }
    }

    /// Returns after a change, or after [`POLL`]. Cancel-safe: an event that is dropped had only said "look again", and
    /// whoever cancels looks again.
    pub(super) async fn wait(&mut self) {
        let Some(events) = &mut self.events else {
            return tokio::time::sleep(POLL).await;
        };
        let log = &self.log;
        let change = async {
            loop {
                match events.next().await {
                    // An event without a name tells of the directory itself, or of lost events.
                    Some(Ok(event)) => {
                        if event.name.is_none_or(|name| name.as_bytes().starts_with(log.as_bytes())) {
                            return true;
                        }
                    }
                    Some(Err(_)) | None => return false,
                }
            }
        };
        match tokio::time::timeout(POLL, change).await {
            Ok(true) | Err(_) => {}
            Ok(false) => {
                self.events = None;
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

fn watch(path: &Path) -> io::Result<EventStream<Vec<u8>>> {
    // Where the log is a link, its target is what grows.
    let target = path.canonicalize()?;
    let inotify = Inotify::init()?;
    let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
    let mut watches = inotify.watches();
    for file in [path, &target] {
        if let Some(dir) = file.parent() {
            watches.add(dir, mask)?;
        }
    }
    inotify.into_event_stream(vec![0; BUFFER_BYTES])
}
