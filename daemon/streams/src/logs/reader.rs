//! One log as a stream of output.
//!
//! ```text
//!            ┌──────────── a block ────────────┐
//!            v                                 │
//!   open ─> Reading ──at the end─┬─ not followed ──────────────> done
//!            ^                   ├─ cut shorter: from its start ─┐
//!            │                   ├─ a next file: handover ───────┤
//!            │                   ├─ container ended before ──────│─> done
//!            └── change, poll ───┴─ else wait                    │
//!            └───────────────────────────────────────────────────┘
//! ```
//!
//! Handover. The runtime opens the next file before it stops writing to the old one. So the old one is read to its end once
//! more after the next has its first line, or after [`HANDOVER`], and only then left. A file that is itself rotated already
//! is followed at once.

use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use thiserror::Error;
use tokio::time::Instant;

use super::changes::Changes;
use super::lines::Lines;
use super::rotation::{self, LogFile, Successor};
use super::selection::{LogOptions, Selection};
use super::tail;

/// Read at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// Read at once when only the end of a line is missing.
const LINE_END_BYTES: usize = 4 * 1024;
/// How long a next file may stay empty before the old one is left.
const HANDOVER: Duration = Duration::from_secs(1);
/// While a log is rotated it has no file for a moment.
const REOPEN_TRIES: u32 = 20;
const REOPEN_WAIT: Duration = Duration::from_millis(50);

/// A log cannot be read.
#[derive(Debug, Error)]
pub enum LogError {
    /// It does not exist, or is no file.
    #[error("opening the log {path}")]
    Open {
        /// Of the log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Reading failed midway.
    #[error("reading the log {path}")]
    Read {
        /// Of the log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An opened log, before its first line.
#[derive(Debug)]
pub struct LogReader {
    path: Arc<Path>,
    file: Arc<File>,
    offset: u64,
    /// Where a log that is not followed ends: a container that writes faster than we are read must not keep us for ever.
    end: Option<u64>,
    lines: Lines,
    selection: Selection,
}

impl LogReader {
    /// Opens the log at `path`, the current file of a container, and finds where its last lines begin.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(path: &Path, options: &LogOptions) -> Result<Self, LogError> {
        let failed = |source| LogError::Open { path: path.to_owned(), source };
        let mut tries = REOPEN_TRIES;
        let (log, start) = loop {
            let (target, count) = (path.to_owned(), options.tail);
            let opened = blocking(move || match rotation::open(&target) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && rotation::is_under_way(&target) => Ok(None),
                Err(e) => Err(e),
                Ok(log) => {
                    let start =
                        count.map_or(Ok(0), |count| tail::start_of_last(&log.file, log.size, count))?;
                    Ok(Some((log, start)))
                }
            });
            match opened.await.map_err(failed)? {
                Some(opened) => break opened,
                None if tries == 0 => return Err(failed(io::ErrorKind::NotFound.into())),
                None => {
                    tries -= 1;
                    tokio::time::sleep(REOPEN_WAIT).await;
                }
            }
        };
        Ok(Self {
            path: path.into(),
            file: Arc::new(log.file),
            offset: start,
            end: (!options.follow).then_some(log.size),
            lines: Lines::default(),
            selection: Selection::new(options),
        })
    }

    /// The log's output. What is followed goes on until `container_ended` and the end of the file after that; dropping the
    /// stream ends it at any time.
    pub fn into_stream(
        self,
        container_ended: impl Future<Output = ()> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, LogError>> + Send + 'static {
        let following = Following {
            reader: self,
            changes: None,
            container_ended: Some(container_ended.boxed()),
            handover: None,
        };
        futures::stream::unfold(Some(following), |following| async move {
            let mut following = following?;
            match following.next().await {
                Ok(Some(output)) => Some((Ok(output), Some(following))),
                Ok(None) => {
                    following.reader.tell_malformed();
                    None
                }
                Err(source) => {
                    let path = following.reader.path.to_path_buf();
                    Some((Err(LogError::Read { path, source }), None))
                }
            }
        })
    }

    /// Reads one block and hands its lines on; `false` at the end.
    async fn read(&mut self) -> io::Result<bool> {
        let most = match self.end {
            Some(end) if self.offset >= end => {
                if !self.lines.is_unfinished() {
                    return Ok(false);
                }
                LINE_END_BYTES
            }
            Some(end) => usize::try_from(end - self.offset).unwrap_or(usize::MAX).min(BLOCK_BYTES),
            None => BLOCK_BYTES,
        };
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let mut block = blocking(move || {
            let mut block = vec![0; most];
            let read = file.read_at(&mut block, offset)?;
            block.truncate(read);
            Ok(block)
        })
        .await?;
        if self.end.is_some_and(|end| self.offset >= end)
            && let Some(newline) = memchr::memchr(b'\n', &block)
        {
            block.truncate(newline + 1);
        }
        self.offset += block.len() as u64;
        let selection = &mut self.selection;
        self.lines.feed(&block, |piece| selection.add(piece));
        Ok(!block.is_empty())
    }

    fn finish_line(&mut self) {
        let selection = &mut self.selection;
        self.lines.finish(|piece| selection.add(piece));
    }

    fn switch_to(&mut self, next: LogFile) {
        if self.lines.is_unfinished() {
            // Nothing will end this line any more; the next file's first must not join it.
            let selection = &mut self.selection;
            self.lines.feed(b"\n", |piece| selection.add(piece));
        }
        self.file = Arc::new(next.file);
        self.offset = 0;
    }

    /// What there is at the end of the file.
    async fn look(&self) -> io::Result<Found> {
        let (path, file, offset) = (Arc::clone(&self.path), Arc::clone(&self.file), self.offset);
        blocking(move || {
            let size = file.metadata()?.len();
            Ok(match size.cmp(&offset) {
                std::cmp::Ordering::Less => Found::Cut,
                std::cmp::Ordering::Greater => Found::More,
                std::cmp::Ordering::Equal => {
                    rotation::successor(&path, &file)?.map_or(Found::Nothing, Found::Next)
                }
            })
        })
        .await
    }

    fn tell_malformed(&self) {
        if let Some((count, last)) = self.selection.malformed {
            tracing::debug!(path = %self.path.display(), count, %last, "lines of a log could not be read and were left out");
        }
    }
}

struct Following {
    reader: LogReader,
    changes: Option<Changes>,
    /// `None` once it has.
    container_ended: Option<BoxFuture<'static, ()>>,
    handover: Option<Handover>,
}

struct Handover {
    to: LogFile,
    since: Instant,
    /// What is read from the old file from now on is all that there will be.
    is_ready: bool,
}

impl Following {
    /// The next output; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(output) = self.reader.selection.take() {
                return Ok(Some(output));
            }
            if self.reader.selection.is_full() {
                return Ok(None);
            }
            if self.reader.read().await? {
                continue;
            }
            if self.reader.end.is_some() || self.at_end().await?.is_break() {
                self.reader.finish_line();
                return Ok(self.reader.selection.take());
            }
        }
    }

    /// At the end of a file that is followed: returns when there may be more, or breaks when there will not be.
    async fn at_end(&mut self) -> io::Result<ControlFlow<()>> {
        const AGAIN: io::Result<ControlFlow<()>> = Ok(ControlFlow::Continue(()));
        let had_ended = self.container_ended.is_none();
        if let Some(mut handover) = self.handover.take() {
            if handover.is_ready {
                self.reader.switch_to(handover.to);
                return AGAIN;
            }
            handover.is_ready =
                had_ended || handover.to.file.metadata()?.len() > 0 || handover.since.elapsed() >= HANDOVER;
            let is_ready = handover.is_ready;
            self.handover = Some(handover);
            if is_ready {
                return AGAIN;
            }
        } else {
            if self.changes.is_none() {
                // What happened before the watch was set is found by looking once more.
                self.changes = Some(Changes::of(&self.reader.path));
                return AGAIN;
            }
            match self.reader.look().await? {
                Found::Cut => {
                    self.reader.lines.clear();
                    self.reader.offset = 0;
                    return AGAIN;
                }
                Found::Next(next) => {
                    self.handover =
                        Some(Handover { to: next.log, since: Instant::now(), is_ready: next.is_rotated });
                    return AGAIN;
                }
                Found::More => return AGAIN,
                Found::Nothing if had_ended => return Ok(ControlFlow::Break(())),
                Found::Nothing => {}
            }
        }
        let Some(changes) = &mut self.changes else { return AGAIN };
        match &mut self.container_ended {
            Some(ended) => tokio::select! {
                // Cancel-safe: the future is kept and polled again.
                () = ended => self.container_ended = None,
                // Cancel-safe, as it says.
                () = changes.wait() => {}
            },
            None => changes.wait().await,
        }
        AGAIN
    }
}

enum Found {
    Nothing,
    More,
    Cut,
    Next(Successor),
}

/// File systems can stall; their calls have threads of their own.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|ended| Err(io::Error::other(ended)))
}

#[cfg(test)]
mod tests;
