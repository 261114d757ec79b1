//! One log as a stream of output.
//!
//! ```text
//!            ┌──────────── a block ────────────┐
//!            v                                 │
//!   open ─> Reading ──at the end─┬─ an earlier file: the one after it ────┐
//!            ^                   ├─ not followed ──────────────> done     │
//!            │                   ├─ cut shorter: from its start ─┐        │
//!            │                   ├─ a next file: handover ───────┤        │
//!            │                   ├─ container ended before ──────│─> done │
//!            └── change, poll ───┴─ else wait                    │        │
//!            └───────────────────────────────────────────────────┴────────┘
//! ```
//!
//! Where lines before the current file are asked for (`tail`, `since`), the rotated files that have them are opened first, compressed
//! ones too, and read in their order.
//!
//! Handover. The runtime opens the next file before it stops writing to the old one. So the old one is read to its end once
//! more after the next has its first line, or after [`HANDOVER`], and only then left. A file that is itself rotated already
//! is followed at once.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
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

/// Read at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// Read at once when only the end of a line is missing.
const LINE_END_BYTES: usize = 4 * 1024;
/// How long a next file may stay empty before the old one is left.
const HANDOVER: Duration = Duration::from_secs(1);
/// Reads at the end of a log are so far apart: who writes line by line does not wake its reader for each.
const GATHER: Duration = Duration::from_millis(25);
/// Rotated files that are opened for one reader.
const MOST_FILES: usize = 64;

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
    /// `None` only while a thread reads it.
    log: Option<LogFile>,
    offset: u64,
    /// What comes after it, if it is an earlier one.
    next: VecDeque<LogFile>,
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
        let (target, tail, since) = (path.to_owned(), options.tail, options.since.map(|at| at.as_second()));
        let opened = blocking(move || open_all(&target, tail, since)).await;
        let mut next = opened.map_err(|source| LogError::Open { path: path.to_owned(), source })?;
        let end = next.back().filter(|_| !options.follow).map(|log| log.size);
        let log = next.pop_front();
        Ok(Self {
            path: path.into(),
            offset: log.as_ref().map_or(0, |log| log.start),
            log,
            next,
            end,
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
            woken: None,
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

    /// Where the file that is read now ends, if that is known.
    fn end(&self) -> Option<u64> {
        let is_last = self.next.is_empty() && self.log.as_ref().is_some_and(|log| log.plain().is_some());
        self.end.filter(|_| is_last)
    }

    /// Reads one block and hands its lines on; `false` at the end.
    async fn read(&mut self) -> io::Result<bool> {
        let end = self.end();
        let most = match end {
            Some(end) if self.offset >= end => {
                if !self.lines.is_unfinished() {
                    return Ok(false);
                }
                LINE_END_BYTES
            }
            Some(end) => usize::try_from(end - self.offset).unwrap_or(usize::MAX).min(BLOCK_BYTES),
            None => BLOCK_BYTES,
        };
        let offset = self.offset;
        let mut block = vec![0; most];
        let cached = self.log.as_ref().and_then(|log| log.read_cached(&mut block, offset));
        let mut block = match cached {
            Some(read) => {
                block.truncate(read);
                // Nothing has waited: lines that are left out must not keep the thread.
                tokio::task::yield_now().await;
                block
            }
            None => self.read_waiting(block).await?,
        };
        if end.is_some_and(|end| self.offset >= end)
            && let Some(newline) = memchr::memchr(b'\n', &block)
        {
            block.truncate(newline + 1);
        }
        self.offset += block.len() as u64;
        let selection = &mut self.selection;
        self.lines.feed(&block, |piece| selection.add(piece));
        Ok(!block.is_empty())
    }

    /// Fills a block on a thread for such calls.
    async fn read_waiting(&mut self, mut block: Vec<u8>) -> io::Result<Vec<u8>> {
        let offset = self.offset;
        self.with_log(move |log| {
            let read = match log.read(&mut block, offset) {
                Err(error) if log.plain().is_none() => {
                    tracing::warn!(%error, "a compressed log is damaged, the rest of it is left out");
                    0
                }
                read => read?,
            };
            block.truncate(read);
            Ok(block)
        })
        .await
    }

    /// Calls with the file on a thread for such calls. Whoever drops this midway drops the reader.
    async fn with_log<T: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut LogFile) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(mut log) = self.log.take() else {
            return Err(io::Error::other("an earlier read broke off"));
        };
        let (log, outcome) = blocking(move || {
            let outcome = call(&mut log);
            Ok((log, outcome))
        })
        .await?;
        self.log = Some(log);
        outcome
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
        self.offset = next.start;
        self.log = Some(next);
    }

    /// What there is at the end of the file.
    async fn look(&mut self) -> io::Result<Found> {
        let (path, offset) = (Arc::clone(&self.path), self.offset);
        self.with_log(move |log| {
            let own = log.plain().map(|file| file.metadata().map(|m| m.len())).transpose()?;
            Ok(match own.map_or(std::cmp::Ordering::Equal, |size| size.cmp(&offset)) {
                std::cmp::Ordering::Less => Found::Cut,
                std::cmp::Ordering::Greater => Found::More,
                std::cmp::Ordering::Equal => {
                    let mut place = log.place.clone();
                    let next = rotation::successor(&path, &mut place, log.plain())?;
                    log.place = place;
                    next.map_or(Found::Nothing, Found::Next)
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
    /// By the last change.
    woken: Option<Instant>,
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
            if let Some(next) = self.reader.next.pop_front() {
                self.reader.switch_to(next);
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
            let begun = handover.to.plain().is_none_or(|file| file.metadata().is_ok_and(|m| m.len() > 0));
            handover.is_ready = had_ended || begun || handover.since.elapsed() >= HANDOVER;
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
        if let Some(woken) = self.woken {
            tokio::time::sleep_until(woken + GATHER).await;
        }
        self.woken = Some(Instant::now());
        AGAIN
    }
}

enum Found {
    Nothing,
    More,
    Cut,
    Next(Successor),
}

/// The log, and before it those of its rotated files that have wanted lines, in their order.
fn open_all(path: &Path, tail: Option<u64>, since: Option<i64>) -> io::Result<VecDeque<LogFile>> {
    let mut log = rotation::open(path)?;
    let mut missing = tail.map(|count| log.keep_last(count)).transpose()?;
    let mut all = VecDeque::new();
    if tail.is_some() || since.is_some() {
        for earlier in rotation::before(path, &log)?.take(MOST_FILES) {
            let mut earlier = earlier?;
            if missing == Some(0) || since.is_some_and(|since| earlier.is_before(since)) {
                break;
            }
            missing = match missing {
                Some(count) => match earlier.keep_last(count) {
                    // A damaged one tells of itself when it is read.
                    Err(_) if earlier.plain().is_none() => break,
                    counted => Some(counted?),
                },
                None => None,
            };
            all.push_front(earlier);
        }
    }
    all.push_back(log);
    Ok(all)
}

/// File systems can stall; their calls have threads of their own.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|ended| Err(io::Error::other(ended)))
}

#[cfg(test)]
mod tests;
