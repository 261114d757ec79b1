//! The thread that owns the file.
//!
//! ```text
//!            commit failed                     reopened
//!   open ──────────────────> closed ──────────────────────────> open
//!    ^                          │  ^                              what landed after all is told to the sink
//!    └── writes, reads          └──┘ each request tries again, not more often than RETRY
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::database::{self, Commit, Opened, Trouble};
use super::operation::{Operation, Written};
use crate::store::{Change, Failure, Page, Range, ReadError, Record, Sink, WriteError};

/// What one commit takes at most.
const GROUP_WRITES: usize = 256;
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// How often a file that cannot be opened is tried again.
const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Write {
    pub(super) key: Arc<str>,
    pub(super) operation: Operation,
    pub(super) reply: oneshot::Sender<Result<Written, WriteError>>,
}

pub(super) enum Request {
    Write(Write),
    Get { key: String, reply: oneshot::Sender<Result<Option<Record>, ReadError>> },
    List { range: Range, reply: oneshot::Sender<Result<Page, ReadError>> },
    Attach { sink: Arc<dyn Sink>, reply: oneshot::Sender<Result<(), ReadError>> },
}

pub(super) struct Writer {
    path: PathBuf,
    file: File,
    /// The last revision that was given to a write, whether it took effect or not.
    given: u64,
    /// The last revision that is in the file for certain, and known to the sink.
    revision: u64,
    acknowledged: Arc<AtomicU64>,
    sink: Option<Arc<dyn Sink>>,
}

/// The file is away after a failed commit: redb gives up on it, and it has to be opened again.
enum File {
    Open(Box<Opened>),
    Away { why: Failure, retry_at: Instant },
}

impl Writer {
    pub(super) fn new(path: PathBuf, opened: Opened, acknowledged: Arc<AtomicU64>) -> Self {
        let revision = opened.revision;
        Self { path, file: File::Open(Box::new(opened)), given: revision, revision, acknowledged, sink: None }
    }

    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut carried: Option<Request> = None;
        while let Some(request) = carried.take().or_else(|| queue.blocking_recv()) {
            match request {
                Request::Write(first) => {
                    let mut bytes = first.operation.value_bytes();
                    let mut group = vec![first];
                    while group.len() < GROUP_WRITES && bytes < GROUP_BYTES {
                        match queue.try_recv() {
                            Ok(Request::Write(write)) => {
                                bytes += write.operation.value_bytes();
                                group.push(write);
                            }
                            // A read is answered after the writes that came before it.
                            Ok(other) => {
                                carried = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.write(group);
                }
                // A caller that has gone away needs no answer.
                Request::Get { key, reply } => {
                    let _ = reply.send(self.read(|opened| database::get(opened, &key)));
                }
                Request::List { range, reply } => {
                    let path = self.path.clone();
                    let page = self.open().map_err(ReadError::from);
                    let _ = reply.send(page.and_then(|opened| database::list(opened, &range, &path)));
                }
                Request::Attach { sink, reply } => {
                    let _ = reply.send(self.attach(sink));
                }
            }
        }
    }

    fn attach(&mut self, sink: Arc<dyn Sink>) -> Result<(), ReadError> {
        sink.load(self.read(database::content)?);
        self.sink = Some(sink);
        Ok(())
    }

    fn read<T>(&mut self, read: impl FnOnce(&Opened) -> Result<T, Trouble>) -> Result<T, ReadError> {
        let path = self.path.clone();
        let opened = self.open()?;
        Ok(read(opened).map_err(|trouble| trouble.into_failure(&path))?)
    }

    /// Commits a group and answers it.
    fn write(&mut self, group: Vec<Write>) {
        let answers = match self.commit(&group) {
            Ok(answers) => answers,
            Err(failure) => vec![Err(WriteError::Failed(failure)); group.len()],
        };
        debug_assert_eq!(answers.len(), group.len());
        for (write, answer) in group.into_iter().zip(answers) {
            let _ = write.reply.send(answer);
        }
    }

    fn commit(&mut self, group: &[Write]) -> Result<Vec<Result<Written, WriteError>>, Failure> {
        let next = self.given + 1;
        let opened = self.open()?;
        let prepared =
            match database::prepare(&opened.database, group, next, opened.floor, opened.kept.clone()) {
                Ok(prepared) => prepared,
                // Nothing of it has been committed.
                Err(trouble) => return Err(self.reopen_after(trouble)),
            };
        let Commit { answers, changes, kept, floor, result } = prepared.commit();
        if let Err(trouble) = result {
            let last = changes.last().map_or(self.revision, |c| c.revision);
            // Whether these revisions are in the file is not known yet; they are not given again.
            self.given = self.given.max(last);
            let failure = self.reopen_after(trouble);
            let landed = matches!(self.file, File::Open(_)) && self.revision >= last;
            return if landed { Ok(answers) } else { Err(failure) };
        }
        opened.kept = kept;
        opened.floor = floor;
        if let Some(last) = changes.last() {
            opened.revision = last.revision;
            self.given = last.revision;
        }
        self.tell(changes);
        Ok(answers)
    }

    /// redb works no more after a failure: closes the file, tries to open it again, and says what had failed.
    fn reopen_after(&mut self, trouble: Trouble) -> Failure {
        let failure = trouble.into_failure(&self.path);
        tracing::error!(error = %failure, "a commit failed");
        self.file = File::Away { why: failure.clone(), retry_at: Instant::now() };
        if let Err(again) = self.open() {
            tracing::error!(error = %again, "the store cannot be opened again");
        }
        failure
    }

    /// The file, opened again if need be.
    fn open(&mut self) -> Result<&mut Opened, Failure> {
        if let File::Away { why, retry_at } = &self.file {
            if Instant::now() < *retry_at {
                return Err(why.clone());
            }
            let reopened = database::reopen(&self.path).and_then(|opened| {
                // A commit that failed may be in the file nevertheless. A file with less than what was acknowledged is another file.
                if opened.revision < self.revision {
                    return Err(Trouble::Corrupt("it has lost acknowledged writes".to_owned()));
                }
                let landed = database::changes_since(&opened, self.revision)?;
                Ok((opened, landed))
            });
            match reopened {
                Ok((opened, landed)) => {
                    tracing::info!(path = %self.path.display(), revision = opened.revision, "the store works again");
                    self.given = self.given.max(opened.revision);
                    self.file = File::Open(Box::new(opened));
                    self.tell(landed);
                }
                Err(trouble) => {
                    let why = trouble.into_failure(&self.path);
                    self.file = File::Away { why: why.clone(), retry_at: Instant::now() + RETRY };
                    return Err(why);
                }
            }
        }
        match &mut self.file {
            File::Open(opened) => Ok(opened),
            File::Away { why, .. } => Err(why.clone()),
        }
    }

    /// Tells the sink what is in the file, and only then anybody else.
    fn tell(&mut self, changes: Vec<Change>) {
        let Some(last) = changes.last().map(|c| c.revision) else { return };
        debug_assert!(last > self.revision);
        self.revision = last;
        if let Some(sink) = &self.sink {
            sink.apply(changes);
        }
        self.acknowledged.store(last, Ordering::Release);
    }
}
