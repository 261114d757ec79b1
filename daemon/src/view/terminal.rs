//! The terminal: its modes, its size, what is typed, and its state afterwards, whatever ends the program but a kill.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;
/// Pieces of input that wait.
const PIECES: usize = 8;
/// Another screen without a cursor, and back.
const ENTER_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE_SCREEN: &str = "\x1b[?25h\x1b[?1049l";

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: u16,
    pub(super) rows: u16,
}

/// Of the terminal that `of` is, if it is one and has a size.
pub(super) fn size(of: impl AsFd) -> Option<Size> {
    let size = tcgetwinsize(of).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Size { columns: size.ws_col, rows: size.ws_row })
}

/// Standard input as it comes: keys are not waited for in lines, not shown, and make no signals. Dropping it restores the terminal.
#[derive(Debug)]
pub(super) struct Raw {
    before: Termios,
    has_screen: bool,
}

impl Raw {
    /// # Errors
    /// Standard input is no terminal.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before, has_screen: false })
    }

    /// With a screen of its own, after which what stood on the terminal is there again.
    ///
    /// # Errors
    /// The same, or standard output cannot be written.
    pub(super) fn with_screen() -> io::Result<Self> {
        let mut raw = Self::enter()?;
        raw.has_screen = true;
        show(ENTER_SCREEN)?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        if self.has_screen {
            let _ = show(LEAVE_SCREEN);
        }
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Writes at once.
pub(super) fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub(super) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

pub(super) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// What comes over standard input until its end. A thread reads it, which nobody waits for: a read that waits for a key cannot be
/// ended, and ends with the program.
pub(super) fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(PIECES);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match stdin.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count @ 1..) => {
                    if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            }
        }
    });
    receiver
}

/// The signals that end a program that has changed the terminal, so that it can put it back first.
#[derive(Debug)]
pub(super) struct Endings {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Endings {
    /// # Errors
    /// Signals cannot be received.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Resolves when one comes, with what the program is to end with, as shells have it. Cancel-safe.
    pub(super) async fn next(&mut self) -> ExitCode {
        let (kind, _) = tokio::select! {
            // Cancel-safe, all of them: a signal that is not taken is there the next time.
            got = self.terminate.recv() => (15, got),
            got = self.hang_up.recv() => (1, got),
            got = self.interrupt.recv() => (2, got),
            got = self.quit.recv() => (3, got),
        };
        ExitCode::from(128 + kind)
    }
}

/// Changes of the terminal's size.
///
/// # Errors
/// Signals cannot be received.
pub(super) fn resized() -> io::Result<Signal> {
    signal(SignalKind::window_change())
}
