//! A program at a terminal of its own, with somebody who types and reads.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::command::{self, command};
use crate::wait::WaitError;

/// Of `stty`.
const RESIZE_LIMIT: Duration = Duration::from_secs(10);
/// Pieces of output that wait to be looked at.
const PIECES: usize = 64;
/// How much of what was seen stands in an error, in bytes.
const SHOWN_BYTES: usize = 4000;

/// A program that runs at a terminal. It is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// What the program writes. A thread reads it, which ends with the program: descriptors of this kind cannot be polled safely.
    pieces: mpsc::Receiver<Vec<u8>>,
    /// Of the side that the program has.
    path: PathBuf,
    child: Child,
    /// What the program has written since the last thing that was waited for.
    seen: String,
}

impl Terminal {
    /// Starts a program in a session whose terminal this is.
    ///
    /// # Errors
    /// There is no terminal, or the program cannot be started.
    pub fn start(program: &Command, rows: u16, columns: u16) -> io::Result<Self> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None)?;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd()))?;
        // It runs the program in its own place.
        let mut in_session = command(Path::new("setsid"));
        let program = program.as_std();
        in_session.arg("--ctty").arg(program.get_program()).args(program.get_args());
        in_session.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = in_session
            .stdin(Stdio::from(pair.slave.try_clone()?))
            .stdout(Stdio::from(pair.slave.try_clone()?))
            .stderr(Stdio::from(pair.slave))
            .spawn()?;
        let master = File::from(pair.master);
        let mut reader = master.try_clone()?;
        let (sender, pieces) = mpsc::channel(PIECES);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last one at the other side closes it, which is an error at this one.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { master, pieces, path, child, seen: String::new() })
    }

    /// Types a line or so: what fits into the terminal's own buffer.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.master.write_all(text.as_bytes())
    }

    /// Reads until `text` has come; what came before it is returned.
    ///
    /// # Errors
    /// It does not come in time, or the program ends before.
    pub async fn expect(&mut self, text: &str, limit: Duration) -> Result<String, WaitError> {
        let reading = async {
            loop {
                if let Some(at) = self.seen.find(text) {
                    let rest = self.seen.split_off(at + text.len());
                    let before = std::mem::replace(&mut self.seen, rest);
                    return Some(before[..at].to_owned());
                }
                if !self.read().await {
                    return None;
                }
            }
        };
        let found = timeout(limit, reading).await;
        match found {
            Ok(Some(before)) => Ok(before),
            Ok(None) | Err(_) => {
                let last = command::tail(&self.seen, SHOWN_BYTES).to_owned();
                Err(WaitError { what: format!("{text:?} at the terminal"), limit, last })
            }
        }
    }

    /// Changes the size, of which the program hears.
    ///
    /// # Errors
    /// `stty` fails.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), command::CommandError> {
        let mut stty = command(Path::new("stty"));
        stty.arg("-F").arg(&self.path);
        stty.args(["rows", &rows.to_string(), "columns", &columns.to_string()]);
        command::run(&mut stty, RESIZE_LIMIT).await.map(drop)
    }

    /// Waits for the program's end, reading what it still says.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn end(mut self, limit: Duration) -> Result<ExitStatus, WaitError> {
        let ending = async {
            while self.read().await {}
            self.child.wait().await
        };
        let last = |e: String| WaitError { what: "the program's end".to_owned(), limit, last: e };
        match timeout(limit, ending).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(last(error.to_string())),
            Err(_) => Err(last(command::tail(&self.seen, SHOWN_BYTES).to_owned())),
        }
    }

    /// Reads some; false at the end.
    async fn read(&mut self) -> bool {
        let Some(piece) = self.pieces.recv().await else { return false };
        self.seen.push_str(&String::from_utf8_lossy(&piece));
        true
    }
}
