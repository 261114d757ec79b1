//! A program that is kept running.
//!
//! ```text
//!            start, resume
//!                  v
//!   Held ──────> Running ──exits──> Waiting ──100 ms, doubling to 10 s──> Running
//!    ^              │                  │
//!    └───── stop ───┴──────────────────┘       a run of 30 s forgets the earlier ones
//! ```
//!
//! Each program has a task that owns its process. The process id is on disk too, so that a later run can end what a killed
//! run left behind.

mod record;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::cache::CacheError;
use crate::progress::Progress;
pub(crate) use record::{Identity, end_recorded};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A run of this length was no failed start.
const GOOD_RUN: Duration = Duration::from_secs(30);
const REQUESTS: usize = 8;
/// A log beyond this is put aside at the next start, over the one that was put aside before.
const LOG_BYTES: u64 = 64 * 1024 * 1024;

/// How a program is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Standard output and standard error are added to it.
    pub(crate) log: PathBuf,
}

/// Why a program is not running.
#[derive(Debug, Error)]
pub enum SuperviseError {
    /// Its log or its record cannot be written.
    #[error(transparent)]
    File(#[from] CacheError),
    /// It cannot be started.
    #[error("starting {program}", program = program.display())]
    Start {
        /// Its path.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The task that keeps it has ended.
    #[error("{name} is not kept running any more")]
    Gone {
        /// Of the component.
        name: String,
    },
}

/// What a component is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Under this process id.
    Running(u32),
    /// It has ended and is started again after a pause.
    Waiting,
    /// It was stopped.
    Held,
}

#[derive(Debug)]
enum Request {
    Stop { grace: Duration, done: oneshot::Sender<()> },
    Resume { done: oneshot::Sender<Result<(), SuperviseError>> },
}

/// A program that is kept running until it is stopped.
#[derive(Debug)]
pub struct Component {
    name: String,
    log: PathBuf,
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<State>,
    restarts: watch::Receiver<u32>,
}

impl Component {
    /// Starts it. Its process is recorded in `records`.
    pub(crate) fn start(launch: Launch, records: &Path, progress: &Progress) -> Result<Self, SuperviseError> {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (state_sender, state) = watch::channel(State::Held);
        let (restart_sender, restarts) = watch::channel(0);
        let (name, log) = (launch.name.clone(), launch.log.clone());
        let mut keeper = Keeper {
            record: records.join(format!("{name}.json")),
            launch,
            progress: progress.clone(),
            inbox,
            state: state_sender,
            restarts: restart_sender,
        };
        let child = keeper.spawn()?;
        tokio::spawn(async move { keeper.keep(child).await });
        Ok(Self { name, log, requests, state, restarts })
    }

    /// `nodelet-0`, say.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it logs to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self.state() {
            State::Running(pid) => Some(pid),
            State::Waiting | State::Held => None,
        }
    }

    /// How often it ended by itself and was started again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        *self.restarts.borrow()
    }

    /// Sends a signal to its process; says whether there was one.
    pub fn signal(&self, signal: Signal) -> bool {
        self.pid().is_some_and(|pid| kill(Pid::from_raw(pid.cast_signed()), signal).is_ok())
    }

    /// Kills its process as a crash would, and waits until another one runs in its place.
    ///
    /// # Errors
    /// It is not kept running any more.
    pub async fn crash(&self) -> Result<(), SuperviseError> {
        let killed = self.pid();
        self.signal(Signal::SIGKILL);
        self.wait(|state| matches!(state, State::Running(pid) if Some(*pid) != killed)).await
    }

    /// Ends it, and keeps it ended: SIGTERM, and SIGKILL after the grace.
    ///
    /// # Errors
    /// It is not kept running any more.
    pub async fn stop(&self, grace: Duration) -> Result<(), SuperviseError> {
        let (done, answer) = oneshot::channel();
        self.ask(Request::Stop { grace, done }).await?;
        answer.await.map_err(|_| self.gone())
    }

    /// Starts it again after a stop.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn resume(&self) -> Result<(), SuperviseError> {
        let (done, answer) = oneshot::channel();
        self.ask(Request::Resume { done }).await?;
        answer.await.map_err(|_| self.gone())?
    }

    async fn wait(&self, wanted: impl FnMut(&State) -> bool) -> Result<(), SuperviseError> {
        self.state.clone().wait_for(wanted).await.map(drop).map_err(|_| self.gone())
    }

    async fn ask(&self, request: Request) -> Result<(), SuperviseError> {
        self.requests.send(request).await.map_err(|_| self.gone())
    }

    fn gone(&self) -> SuperviseError {
        SuperviseError::Gone { name: self.name.clone() }
    }
}

/// The task that owns the process.
#[derive(Debug)]
struct Keeper {
    launch: Launch,
    record: PathBuf,
    progress: Progress,
    inbox: mpsc::Receiver<Request>,
    state: watch::Sender<State>,
    restarts: watch::Sender<u32>,
}

impl Keeper {
    fn spawn(&mut self) -> Result<Child, SuperviseError> {
        let Launch { program, arguments, log, .. } = &self.launch;
        let file = |operation| CacheError::file(operation, log);
        if std::fs::metadata(log).is_ok_and(|log| log.len() > LOG_BYTES) {
            std::fs::rename(log, log.with_extension("log.1")).map_err(file("putting aside"))?;
        }
        let out = OpenOptions::new().create(true).append(true).open(log).map_err(file("opening"))?;
        let err = out.try_clone().map_err(file("opening"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C in a terminal is for the supervisor, which ends its programs in order.
            .process_group(0)
            .spawn()
            .map_err(|source| SuperviseError::Start { program: program.clone(), source })?;
        let pid = child.id().expect("it was not waited for yet");
        if let Some(identity) = Identity::of(pid) {
            identity.write(&self.record)?;
        }
        self.state.send_replace(State::Running(pid));
        Ok(child)
    }

    /// Runs until nobody holds the component any more; the process then goes on by itself.
    async fn keep(mut self, child: Child) {
        let mut child = Some(child);
        let mut pause = FIRST_PAUSE;
        let mut since = Instant::now();
        loop {
            let due = since + pause;
            tokio::select! {
                // Requests first: what nobody holds any more, or is to stop, is not started again.
                biased;
                // Cancel-safe: a receive that is dropped takes nothing.
                request = self.inbox.recv() => match request {
                    None => return,
                    Some(Request::Stop { grace, done }) => {
                        if let Some(mut running) = child.take() {
                            end(&mut running, grace).await;
                        }
                        let _ = std::fs::remove_file(&self.record);
                        self.state.send_replace(State::Held);
                        let _ = done.send(());
                    }
                    Some(Request::Resume { done }) => {
                        let outcome = if child.is_none() {
                            pause = FIRST_PAUSE;
                            since = Instant::now();
                            self.spawn().map(|started| child = Some(started))
                        } else {
                            Ok(())
                        };
                        let _ = done.send(outcome);
                    }
                },
                // Cancel-safe: a wait that is dropped loses nothing, the status is kept.
                status = exit(&mut child) => {
                    child = None;
                    pause = if since.elapsed() >= GOOD_RUN { FIRST_PAUSE } else { pause };
                    self.tell(&status, pause);
                    since = Instant::now();
                    self.state.send_replace(State::Waiting);
                }
                // Cancel-safe: made anew from the times.
                () = tokio::time::sleep_until(due), if *self.state.borrow() == State::Waiting => {
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    since = Instant::now();
                    match self.spawn() {
                        Ok(started) => {
                            child = Some(started);
                            self.restarts.send_modify(|count| *count += 1);
                        }
                        Err(error) => self.progress.note(&format!("{}: {error}", self.launch.name)),
                    }
                }
            }
        }
    }

    fn tell(&self, status: &std::io::Result<ExitStatus>, pause: Duration) {
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let log = self.launch.log.display();
        let last = last_line(&self.launch.log).map_or(String::new(), |line| format!(" and ends: {line}"));
        self.progress.note(&format!(
            "{} ended ({how}); starting it again in {pause:?}; its log is {log}{last}",
            self.launch.name
        ));
    }
}

/// What a program said last, as far as it is within the last 4 KiB of its log.
fn last_line(log: &Path) -> Option<String> {
    let mut file = std::fs::File::open(log).ok()?;
    let end = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(end.saturating_sub(4096))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}

/// The end of a process that there is; otherwise for ever.
async fn exit(child: &mut Option<Child>) -> std::io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

async fn end(child: &mut Child, grace: Duration) {
    if let Some(pid) = child.id() {
        // It may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
    }
    if tokio::time::timeout(grace, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

#[cfg(test)]
mod tests;
