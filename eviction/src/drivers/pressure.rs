//! The kernel's word that work waits for memory (PSI).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{ReadError, content, read};
use crate::observation::Left;

/// Some work has waited for a tenth of half a second; without CAP_SYS_RESOURCE the kernel takes multiples of two seconds only.
const TRIGGERS: [&str; 2] = ["some 50000 500000", "some 200000 2000000"];

/// Becomes ready when work waits for memory.
#[derive(Debug)]
pub struct Trigger(AsyncFd<File>);

impl Trigger {
    /// Sets the trigger up at a file of pressure, `/proc/pressure/memory` or a cgroup's. It lasts as long as the value.
    ///
    /// # Errors
    /// The kernel does not tell of pressure, or does not take the trigger. Also outside of a tokio runtime.
    pub fn new(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Io { path: path.to_owned(), source };
        let mut refused = None;
        for trigger in TRIGGERS {
            match open(path, trigger) {
                Ok(file) => return polled(file).map(Self).map_err(failed),
                Err(error) => refused = Some(error),
            }
        }
        Err(failed(refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into())))
    }

    /// Waits until work has waited; at most once in the trigger's window. Cancel-safe: what is not returned is seen by the next call.
    ///
    /// # Errors
    /// The file is gone: nothing comes any more.
    pub async fn fired(&self) -> io::Result<()> {
        let mut guard = self.0.ready(Interest::PRIORITY).await?;
        let gone = guard.ready().is_error();
        guard.clear_ready();
        if gone { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }
}

#[allow(
    deprecated,
    reason = "what takes its place is unsafe for types that may lie about their descriptor; a file does not"
)]
fn polled(file: File) -> io::Result<AsyncFd<File>> {
    AsyncFd::with_interest(file, Interest::PRIORITY)
}

fn open(path: &Path, trigger: &str) -> io::Result<File> {
    let nonblocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path)?;
    file.write_all(format!("{trigger}\0").as_bytes())?;
    Ok(file)
}

/// Which of the kernel's averages is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// `some`: at least one waits; `full`: nobody gets on.
    line: &'static str,
    /// Seconds that the average is over: 10, 60 or 300.
    seconds: u32,
}

impl Stall {
    /// What the average is over.
    pub fn window(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.seconds.into())
    }
}

/// A limit for one of the averages, `full.avg10>40` as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StallLimit {
    /// Which average.
    pub stall: Stall,
    /// Percent of the time, above 0 and below 100.
    pub percent: f32,
}

impl fmt::Display for StallLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.avg{}>{}", self.stall.line, self.stall.seconds, self.percent)
    }
}

impl FromStr for StallLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not of the form full.avg10>40 (some or full; avg10, avg60 or avg300; percent)"
            )
        };
        let (average, percent) = text.split_once('>').ok_or_else(wrong)?;
        let (line, seconds) = average.split_once('.').ok_or_else(wrong)?;
        let line = ["some", "full"].into_iter().find(|known| *known == line).ok_or_else(wrong)?;
        let seconds = seconds.strip_prefix("avg").and_then(|s| s.parse().ok());
        let seconds = seconds.filter(|s| [10, 60, 300].contains(s)).ok_or_else(wrong)?;
        let percent: f32 = percent.parse().map_err(|_| wrong())?;
        if !(percent > 0.0 && percent < 100.0) {
            return Err(wrong());
        }
        Ok(Self { stall: Stall { line, seconds }, percent })
    }
}

/// The time in which nobody waited, in hundredths of a percent.
///
/// # Errors
/// The file cannot be read or lacks the average.
pub fn unstalled(path: &Path, stall: Stall) -> Result<Left, ReadError> {
    const ALL: u64 = 10_000;
    let stalled = average(&read(path)?, stall).ok_or_else(|| content(path, "such average"))?;
    let stalled = (stalled.clamp(0.0, 100.0) * 100.0).round() as u64;
    Ok(Left { available: ALL - stalled.min(ALL), capacity: ALL })
}

fn average(text: &str, stall: Stall) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(stall.line)?.strip_prefix(' '))?;
    let name = format!("avg{}=", stall.seconds);
    line.split_whitespace().find_map(|word| word.strip_prefix(&name)?.parse().ok())
}

#[cfg(test)]
mod tests;
