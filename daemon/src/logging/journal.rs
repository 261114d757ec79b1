//! The log in the journal's own protocol, so that each field of an event is a field of the entry:
//! `journalctl -u nodelet POD=default/web`, `UID=...`, `CONTAINER=...`.
//!
//! The message has the fields too, as a line of text has them. A journal that takes nothing holds up nobody: what it does not
//! take at once is lost, and counted.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Longer values are cut.
const VALUE_BYTES: usize = 16 << 10;
/// Fields beyond that are left out; one datagram has room for it.
const ENTRY_BYTES: usize = 128 << 10;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    lost: AtomicU64,
}

impl Journal {
    /// The machine's journal, if it is what reads standard error.
    pub(super) fn behind_stderr() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = fstat(io::stderr()).ok()?;
        if stream != format!("{}:{}", stderr.st_dev, stderr.st_ino) {
            return None;
        }
        Self::at(PathBuf::from(SOCKET)).ok()
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path, lost: AtomicU64::new(0) })
    }

    fn write(&self, level: Level, target: &str, visited: &Visited) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let message = format!("{lost} entries of the log were lost: the journal did not take them");
            let missing = Visited { message, ..Visited::default() };
            self.send(Level::WARN, module_path!(), &missing, lost);
        }
        self.send(level, target, visited, 1);
    }

    /// `stands_for` so many entries, if it is lost.
    fn send(&self, level: Level, target: &str, visited: &Visited, stands_for: u64) {
        let entry = visited.entry(level, target);
        // By its path: a journal that was started again has another socket there.
        if self.socket.send_to(&entry, &self.path).is_err() {
            self.lost.fetch_add(stands_for, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut visited = Visited::default();
        event.record(&mut visited);
        self.write(*event.metadata().level(), event.metadata().target(), &visited);
    }
}

/// The message and the fields of an event.
#[derive(Debug, Default)]
pub(super) struct Visited {
    message: String,
    /// The fields as they stand behind the message.
    behind: String,
    /// The fields as the journal has them.
    fields: Vec<u8>,
}

impl Visited {
    /// The message with its fields, as a line of text has them.
    pub(super) fn line(&self) -> String {
        format!("{}{}", self.message, self.behind)
    }

    fn entry(&self, level: Level, target: &str) -> Vec<u8> {
        // The numbers of syslog.
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        let mut entry = Vec::with_capacity(128 + self.message.len() + self.behind.len() + self.fields.len());
        append(&mut entry, "PRIORITY", priority);
        append(&mut entry, "SYSLOG_IDENTIFIER", "nodelet");
        append(&mut entry, "TARGET", target);
        append(&mut entry, "MESSAGE", &self.line());
        entry.extend_from_slice(&self.fields);
        entry
    }

    fn take(&mut self, field: &Field, plain: &str, quoted: &str) {
        if field.name() == "message" {
            plain.clone_into(&mut self.message);
            return;
        }
        if self.fields.len() + plain.len().min(VALUE_BYTES) > ENTRY_BYTES - 4 * VALUE_BYTES {
            return;
        }
        // Nothing is impossible with a text.
        let _ = write!(self.behind, " {}={}", field.name(), cut(quoted));
        let name: String = field.name().to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let name = name.trim_start_matches(|c: char| !c.is_ascii_uppercase());
        if !name.is_empty() {
            append(&mut self.fields, name, plain);
        }
    }
}

impl Visit for Visited {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value, &format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.take(field, &text, &text);
    }
}

/// One field; a value of several lines comes with its length.
fn append(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = cut(value);
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(VALUE_BYTES)]
}

#[cfg(test)]
mod tests;
