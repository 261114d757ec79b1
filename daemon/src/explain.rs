//! `nodelet explain`: why a pod is in the state it is in.
//!
//! ```text
//!   nodelet explain ns/pod ──> <root-dir>/nodelet/explain.sock ──> supervisor ──> the pod's task
//!                          <── its recording as JSON  <──────────────────────────────'
//! ```
//!
//! The daemon only hands out what it has recorded; the program that asks plays it through the same machine and tells the
//! story. A recording that was saved is told in the same way, without a daemon. The socket is root's alone: a recording
//! holds the pod's object with its environment.

mod ask;
mod tell;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifecycle::{Now, Recording};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::stop::stopped;
pub use ask::main;

/// Longest question: a namespace and a name, with room.
const MAX_QUESTION: u64 = 1024;
/// Whoever takes longer to ask, or to read the answer, is cut off.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions at once; more wait at the door.
const QUESTIONS: usize = 4;
/// Pods of one name at once: one that leaves and the ones that wait for it.
const ANSWERS: usize = 8;

/// A question to the supervisor: the recordings of the pods of this name.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Closed once every pod has answered.
    pub(crate) reply: mpsc::Sender<Recording>,
}

/// What is sent and saved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) now: Now,
    pub(crate) recordings: Vec<Recording>,
}

/// Where the daemon with this root directory is asked.
pub(crate) fn socket(root_dir: &Path) -> PathBuf {
    root_dir.join("nodelet/explain.sock")
}

/// Opens the socket.
///
/// # Errors
/// The path is too long for a socket, or cannot be written.
pub(crate) fn listen(root_dir: &Path) -> io::Result<UnixListener> {
    crate::local_socket::bind(&socket(root_dir))
}

/// Answers until `stop`.
pub(crate) async fn serve(
    listener: UnixListener,
    supervisor: mpsc::Sender<Question>,
    mut stop: watch::Receiver<bool>,
) {
    let mut answering = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            // Cancel-safe: a level.
            () = stopped(&mut stop) => return,
            // Cancel-safe: as tokio says of both.
            Some(_) = answering.join_next(), if !answering.is_empty() => {}
            accepted = listener.accept(), if answering.len() < QUESTIONS => match accepted {
                Ok((stream, _)) => {
                    answering.spawn(tokio::time::timeout(PATIENCE, answer(stream, supervisor.clone())));
                }
                Err(error) => {
                    tracing::warn!(%error, "nobody can ask for an explanation");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
        }
    }
}

async fn answer(stream: UnixStream, supervisor: mpsc::Sender<Question>) {
    if let Err(error) = try_answer(stream, &supervisor).await {
        tracing::debug!(%error, "an explanation was not heard to its end");
    }
}

async fn try_answer(stream: UnixStream, supervisor: &mpsc::Sender<Question>) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut question = String::new();
    BufReader::new(reading.take(MAX_QUESTION)).read_line(&mut question).await?;
    let (namespace, name) = question.trim().split_once('/').unwrap_or(("", ""));
    let (reply, mut answers) = mpsc::channel(ANSWERS);
    let question = Question { namespace: namespace.to_owned(), name: name.to_owned(), reply };
    if supervisor.send(question).await.is_err() {
        return Ok(());
    }
    let mut recordings = Vec::new();
    while let Some(recording) = answers.recv().await {
        recordings.push(recording);
    }
    let text = serde_json::to_vec(&Answer { now: clock::now(), recordings }).map_err(io::Error::other)?;
    writing.write_all(&text).await?;
    writing.shutdown().await
}
