//! The logs of services: the journal's by `journalctl`, and files where a service is not in the journal (behaviour.md 35.10).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::query::{NodeLogQuery, Options, invalid, quoted};
use super::tree::{Node, Tree};
use crate::server::reply::{self, Reply};
use crate::systemd::PRIVATE_VARIABLES;

/// A kubelet's: for all services of a query.
const DEADLINE: Duration = Duration::from_secs(30);
/// Of one answer.
const BYTES: u64 = 256 << 20;
/// Of the list of units.
const UNITS_BYTES: u64 = 1 << 20;
/// Of what `journalctl` says about a pattern.
const COMPLAINT_BYTES: u64 = 1 << 10;
const CHUNK: usize = 16 * 1024;
/// Chunks that wait for the caller.
const CHUNKS: usize = 4;
/// Queries that are answered at once.
const AT_ONCE: usize = 4;

/// Where services' logs are.
#[derive(Clone, Debug)]
pub(in crate::server) struct Journal {
    program: PathBuf,
    /// What the program is always told first.
    first: Vec<OsString>,
    places: Arc<Semaphore>,
}

impl Journal {
    /// `program` is `journalctl`, or stands in for it where it is told `first` before everything else.
    pub(in crate::server) fn new(program: impl Into<PathBuf>, first: &[OsString]) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { program: program.into(), first: first.to_vec(), places }
    }

    /// What the services have logged. What goes wrong for one of them stands in the text.
    pub(super) async fn answer(&self, tree: &Tree, query: NodeLogQuery) -> Reply {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many node log queries are being answered",
            );
        };
        if let Some(why) = self.complaint(&query.options).await {
            return reply::error(StatusCode::NOT_ACCEPTABLE, why);
        }
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let (journal, tree) = (self.clone(), tree.clone());
        tokio::spawn(async move {
            let mut out = Out { sender, left: BYTES, _place: place };
            // Dropping the work ends the program that it has started.
            if timeout(DEADLINE, journal.copy(&tree, &query, &mut out)).await.is_err() {
                tracing::debug!("a node log query was not answered in {DEADLINE:?}");
            }
        });
        let chunks = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        });
        let mut reply = reply::stream(chunks);
        let text = HeaderValue::from_static("text/plain;charset=UTF-8");
        reply.headers_mut().insert(CONTENT_TYPE, text);
        reply
    }

    /// What is wrong with the pattern: `journalctl` knows, and says so when it looks for it among no lines.
    async fn complaint(&self, options: &Options) -> Option<String> {
        if options.pattern.is_empty() {
            return None;
        }
        let pattern = format!("--grep={}", options.pattern);
        let mut command = self.command(["--quiet", "--no-pager", "--lines=0", &pattern]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
        let mut said = Vec::new();
        let ended = timeout(DEADLINE, async {
            if let Some(mut stderr) = child.stderr.take() {
                (&mut stderr).take(COMPLAINT_BYTES).read_to_end(&mut said).await?;
            }
            child.wait().await
        });
        let is_failed = ended.await.is_ok_and(|status| status.is_ok_and(|status| !status.success()));
        let said = String::from_utf8_lossy(&said);
        let said = said.trim();
        // Finding nothing is an end without success, and without a word.
        (is_failed && said.to_lowercase().contains("pattern"))
            .then(|| invalid("pattern", &quoted(&options.pattern), said))
    }

    async fn copy(&self, tree: &Tree, query: &NodeLogQuery, out: &mut Out) -> Option<()> {
        let units = self.units().await.unwrap_or_default();
        let is_unit = |service: &&String| {
            let unit = format!("{service}.service");
            units.lines().any(|line| line == unit)
        };
        let (native, files): (Vec<&String>, Vec<&String>) = query.services.iter().partition(is_unit);
        if !native.is_empty() {
            self.copy_journal(&query.options, &native, out).await?;
        }
        if files.is_empty() {
            return Some(());
        }
        if query.options != Options::default() {
            let names: Vec<&str> = files.iter().map(|name| name.as_str()).collect();
            let names = names.join(" ");
            return out
                .text(format!(
                    "\noptions present and query resolved to log files for [{names}]\ntry without specifying options\n"
                ))
                .await;
        }
        for service in files {
            copy_file(tree, service, out).await?;
        }
        Some(())
    }

    /// The units of which the journal has entries, one a line.
    async fn units(&self) -> io::Result<String> {
        let mut command = self.command(["--field", "_SYSTEMD_UNIT"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut text = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(UNITS_BYTES).read_to_end(&mut text).await?;
        }
        // Dropped with the pipe: what would come after the bound is not waited for.
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn copy_journal(&self, options: &Options, services: &[&String], out: &mut Out) -> Option<()> {
        match self.start(self.command(arguments(options, services))) {
            Ok((_child, mut said)) => out.copy(&mut said).await,
            Err(error) => {
                tracing::debug!(%error, "journalctl cannot be run");
                out.text("\nerror: journal output not available\n".to_owned()).await
            }
        }
    }

    /// A program both of whose outputs are one.
    fn start(&self, mut command: Command) -> io::Result<(Child, Receiver)> {
        let (reader, writer) = io::pipe()?;
        let child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
        // The command holds the other end of the pipe: it goes out of scope here.
        Ok((child, Receiver::from_owned_fd(reader.into())?))
    }

    fn command<I: IntoIterator<Item = S>, S: Into<OsString>>(&self, arguments: I) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.first)
            .args(arguments.into_iter().map(Into::into))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command.kill_on_drop(true);
        for name in PRIVATE_VARIABLES {
            command.env_remove(name);
        }
        command
    }
}

/// Times are said to be UTC, which a kubelet leaves to the machine's zone.
fn arguments(options: &Options, services: &[&String]) -> Vec<String> {
    let time = |time: Timestamp| time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut arguments =
        vec!["--utc".to_owned(), "--no-pager".to_owned(), "--output=short-precise".to_owned()];
    if let Some(since) = options.since {
        arguments.push(format!("--since={}", time(since)));
    }
    if let Some(until) = options.until {
        arguments.push(format!("--until={}", time(until)));
    }
    if let Some(lines) = options.tail_lines {
        arguments.extend(["--pager-end".to_owned(), format!("--lines={lines}")]);
    }
    arguments.extend(services.iter().map(|service| format!("--unit={service}")));
    if !options.pattern.is_empty() {
        arguments.push(format!("--grep={}", options.pattern));
    }
    if let Some(boot) = options.boot {
        arguments.push(format!("--boot={boot}"));
    }
    arguments
}

/// Where what was found goes, until its caller is gone or has had enough.
struct Out {
    sender: mpsc::Sender<Bytes>,
    left: u64,
    _place: OwnedSemaphorePermit,
}

impl Out {
    async fn text(&self, text: String) -> Option<()> {
        self.sender.send(text.into()).await.ok()
    }

    async fn copy(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Option<()> {
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = match from.read(&mut chunk).await {
                Ok(0) => return Some(()),
                Ok(read) => read,
                Err(error) => return self.text(format!("\nerror reading the log: {error}\n")).await,
            };
            self.left = self.left.checked_sub(read as u64)?;
            chunk.truncate(read);
            self.sender.send(chunk.into()).await.ok()?;
        }
    }
}

/// The first file of the service that there is.
async fn copy_file(tree: &Tree, service: &str, out: &mut Out) -> Option<()> {
    for name in [service.to_owned(), format!("{service}.log"), format!("{service}/{service}.log")] {
        let wanted = tree.clone();
        let opened = tokio::task::spawn_blocking(move || wanted.open(Path::new(&name))).await;
        match opened.unwrap_or_else(|_| Err(io::Error::other("reading was given up"))) {
            Ok(Node::File(file)) => {
                let length = file.metadata().map_or(BYTES, |data| data.len());
                return out.copy(&mut tokio::fs::File::from_std(file).take(length)).await;
            }
            Ok(Node::Directory(_)) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return out.text(format!("\nerror getting log for {service}: {error}\n")).await,
        }
    }
    out.text(format!("\nlog not found for {service}\n")).await
}

#[cfg(test)]
mod tests;
