//! The machine's side of a node's agent: commands with input, output and exit code, files, and sockets of the node.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;
use vm_agent::{CHUNK, HEADER, Kind, PORT, Request};

use crate::command::Output;

/// A node that is up answers within a millisecond, unless its processor is busy with something else.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// One that boots answers not at all, and is asked anew soon.
const PROBE_LIMIT: Duration = Duration::from_millis(200);
/// The most that a command may say where all of it is kept.
const MAX_OUTPUT: usize = 256 * 1024 * 1024;

/// Why a command was not carried out in a node.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The agent is not reached, or the connection broke.
    #[error("{operation} the agent of {node}")]
    Connection {
        /// What was being done.
        operation: &'static str,
        /// Which node.
        node: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The agent cannot do it.
    #[error("{node}: {what}: {why}")]
    Refused {
        /// Which node.
        node: String,
        /// The command.
        what: String,
        /// What the agent said.
        why: String,
    },
    /// It took too long and was ended.
    #[error("{node}: {what}: not done after {limit:?}")]
    Deadline {
        /// Which node.
        node: String,
        /// The command.
        what: String,
        /// How long it had.
        limit: Duration,
    },
    /// It said no.
    #[error("{node}: {what}: {status}: {said}")]
    Failed {
        /// Which node.
        node: String,
        /// The command.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// A socket of this machine cannot be made.
    #[error("listening on {path}", path = path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What a command said, byte for byte, and how it ended.
#[derive(Clone, Debug)]
pub struct Bytes {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Bytes {
    pub(super) fn text(self) -> Output {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { status: self.status, stdout: text(self.stdout), stderr: text(self.stderr) }
    }
}

/// Where the agent of a node is reached.
#[derive(Clone, Debug)]
pub struct Agent {
    node: String,
    address: SocketAddr,
}

impl Agent {
    pub(super) fn new(node: String, ip: Ipv4Addr) -> Self {
        Self { node, address: (ip, PORT).into() }
    }

    /// Whether the agent can be reached just now.
    pub(super) async fn probe(&self) -> Result<(), AgentError> {
        self.connect(PROBE_LIMIT).await.map(drop)
    }

    /// Runs a command to its end, whatever that is; its input is all of `input`.
    ///
    /// # Errors
    /// It cannot be run, does not end within `limit` (and is killed then), or the node goes away.
    pub async fn run(&self, argv: &[&str], input: &[u8], limit: Duration) -> Result<Bytes, AgentError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let run = self.stream(argv, input, &mut stdout, &mut stderr);
        let Ok(ended) = tokio::time::timeout(limit, run).await else {
            return Err(AgentError::Deadline { node: self.node.clone(), what: argv.join(" "), limit });
        };
        Ok(Bytes { status: ended?, stdout, stderr })
    }

    /// Runs a command that reads `input` and writes to `stdout` and `stderr` as it goes.
    ///
    /// # Errors
    /// It cannot be run, or the node goes away.
    pub async fn stream(
        &self,
        argv: &[&str],
        input: impl AsyncRead + Unpin,
        stdout: impl AsyncWrite + Unpin,
        stderr: impl AsyncWrite + Unpin,
    ) -> Result<ExitStatus, AgentError> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let what = argv.join(" ");
        let stream = self.ask(&Request::Run { argv }).await?;
        let (from, to) = stream.into_split();
        let feed = feed(input, to);
        let take = take(from, stdout, stderr);
        tokio::pin!(feed, take);
        // Held to the end: a half that is dropped would tell the agent that nobody waits.
        let mut fed = None;
        let ended = loop {
            tokio::select! {
                // Cancel-safe: both are polled by reference.
                ended = &mut take => break ended,
                // A command that does not read all of its input is no error; one whose node is gone ends `take`.
                to = &mut feed, if fed.is_none() => fed = Some(to),
            }
        };
        drop(fed);
        match ended.map_err(self.broken("talking to"))? {
            Ended::Status(status) => Ok(status),
            Ended::Refused(why) => Err(AgentError::Refused { node: self.node.clone(), what, why }),
        }
    }

    /// Makes `local` lead to a Unix socket of the node, for as long as the answer is held.
    ///
    /// # Errors
    /// `local` cannot be made. That there is no such socket in the node shows at each connection.
    pub fn forward(&self, socket: &str, local: &Path) -> Result<Forward, AgentError> {
        let error = |source| AgentError::Listen { path: local.to_path_buf(), source };
        // Of an earlier boot.
        let _ = std::fs::remove_file(local);
        let listener = UnixListener::bind(local).map_err(error)?;
        let (agent, socket) = (self.clone(), socket.to_owned());
        let task = tokio::spawn(async move {
            let mut passed_on = tokio::task::JoinSet::new();
            while let Ok((mut local, _)) = listener.accept().await {
                let (agent, request) = (agent.clone(), Request::Connect { path: socket.clone() });
                passed_on.spawn(async move {
                    // The other side sees a connection that ends.
                    if let Ok(mut stream) = agent.connected(&request).await {
                        let _ = tokio::io::copy_bidirectional(&mut local, &mut stream).await;
                    }
                });
                while passed_on.try_join_next().is_some() {}
            }
        });
        Ok(Forward { path: local.to_path_buf(), task })
    }

    /// A connection to the agent that has become one to the socket.
    async fn connected(&self, request: &Request) -> Result<TcpStream, AgentError> {
        let mut stream = self.ask(request).await?;
        let frame = receive(&mut stream).await.map_err(self.broken("talking to"))?;
        match frame {
            Some((Kind::Connected, _)) => Ok(stream),
            other => {
                let why = other.map(|(_, content)| String::from_utf8_lossy(&content).into_owned());
                let why = why.unwrap_or_else(|| "it closed the connection".to_owned());
                Err(AgentError::Refused { node: self.node.clone(), what: format!("{request:?}"), why })
            }
        }
    }

    async fn ask(&self, request: &Request) -> Result<TcpStream, AgentError> {
        let mut stream = self.connect(CONNECT_LIMIT).await?;
        let ask = async {
            stream.set_nodelay(true)?;
            let content = serde_json::to_vec(request)?;
            if content.len() > vm_agent::MAX_FRAME {
                return Err(std::io::Error::other("the command line is too long"));
            }
            stream.write_all(&vm_agent::frame(Kind::Request, &content)).await
        };
        ask.await.map_err(self.broken("asking"))?;
        Ok(stream)
    }

    async fn connect(&self, limit: Duration) -> Result<TcpStream, AgentError> {
        let connect = tokio::time::timeout(limit, TcpStream::connect(self.address));
        connect.await.unwrap_or_else(|late| Err(late.into())).map_err(self.broken("reaching"))
    }

    fn broken(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> AgentError {
        let node = self.node.clone();
        move |source| AgentError::Connection { operation, node, source }
    }
}

/// A socket of this machine that leads into a node.
#[derive(Debug)]
pub struct Forward {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Forward {
    /// Of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
        // Its directory may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

enum Ended {
    Status(ExitStatus),
    Refused(String),
}

/// Sends the input and its end; gives back the half of the connection, which must stay open while the command runs.
async fn feed<W: AsyncWrite + Unpin>(mut input: impl AsyncRead + Unpin, mut to: W) -> W {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length) = input.read(&mut buffer).await {
        let frame = match length {
            0 => vm_agent::frame(Kind::EndOfInput, &[]),
            length => vm_agent::frame(Kind::Input, &buffer[..length]),
        };
        if to.write_all(&frame).await.is_err() || length == 0 {
            break;
        }
    }
    to
}

async fn take(
    mut from: impl AsyncRead + Unpin,
    mut stdout: impl AsyncWrite + Unpin,
    mut stderr: impl AsyncWrite + Unpin,
) -> std::io::Result<Ended> {
    let mut taken = 0;
    loop {
        let frame = receive(&mut from).await?;
        let (kind, content) = frame.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        taken += content.len();
        if taken > MAX_OUTPUT {
            return Err(std::io::Error::other(format!("more than {MAX_OUTPUT} bytes of output")));
        }
        match kind {
            Kind::Output => {
                stdout.write_all(&content).await?;
                stdout.flush().await?;
            }
            Kind::ErrorOutput => {
                stderr.write_all(&content).await?;
                stderr.flush().await?;
            }
            Kind::End => {
                let raw = std::str::from_utf8(&content).ok().and_then(|text| text.parse().ok());
                let raw = raw.ok_or(std::io::ErrorKind::InvalidData)?;
                return Ok(Ended::Status(ExitStatus::from_raw(raw)));
            }
            Kind::Refused => return Ok(Ended::Refused(String::from_utf8_lossy(&content).into_owned())),
            _ => return Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

/// One frame; `None` where the other side has closed in order.
async fn receive(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<(Kind, Vec<u8>)>> {
    let mut header = [0; HEADER];
    if from.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..]).await?;
    let (kind, length) = vm_agent::header(header)?;
    let mut content = vec![0; length];
    from.read_exact(&mut content).await?;
    Ok(Some((kind, content)))
}
