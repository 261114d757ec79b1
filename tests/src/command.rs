//! Other programs, run with a deadline.

use std::ffi::CString;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use thiserror::Error;
use tokio::process::Command;

/// How much of what a failed program said goes into the error.
const TAIL_BYTES: usize = 2000;

/// Why a program did not do what it was to do.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It is not there, or may not be run.
    #[error("starting {program}")]
    Start {
        /// As it was named.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long and was ended.
    #[error("{line}: not done after {limit:?}")]
    Deadline {
        /// Program and arguments.
        line: String,
        /// How long it had.
        limit: Duration,
    },
    /// It said no.
    #[error("{line}: {status}: {said}")]
    Failed {
        /// Program and arguments.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        said: String,
    },
}

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// As text; what is not UTF-8 is replaced.
    pub stdout: String,
    /// As text; what is not UTF-8 is replaced.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

/// A command that reads nothing, whose output is caught, and that ends with its future.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end, whatever that is.
pub(crate) async fn output(command: &mut Command, limit: Duration) -> Result<Output, CommandError> {
    match tokio::time::timeout(limit, command.output()).await {
        Err(_) => Err(CommandError::Deadline { line: line(command), limit }),
        Ok(Err(source)) => {
            let program = command.as_std().get_program().to_string_lossy().into_owned();
            Err(CommandError::Start { program, source })
        }
        Ok(Ok(output)) => Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

/// Runs it to its end with this as its standard input.
pub(crate) async fn output_with(
    command: &mut Command,
    input: &str,
    limit: Duration,
) -> Result<Output, CommandError> {
    // A file, so that nobody has to write while somebody reads.
    let source = |source| {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        CommandError::Start { program, source }
    };
    let file = input_file(input).map_err(source)?;
    output(command.stdin(file), limit).await
}

fn input_file(input: &str) -> std::io::Result<std::fs::File> {
    let name = CString::new("input").expect("there is no zero byte in it");
    let mut file = std::fs::File::from(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC)?);
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// Runs it, and expects success.
pub(crate) async fn run(command: &mut Command, limit: Duration) -> Result<Output, CommandError> {
    let output = output(command, limit).await?;
    succeeded(command, output)
}

/// Runs it with this as its standard input, and expects success.
pub(crate) async fn run_with(
    command: &mut Command,
    input: &str,
    limit: Duration,
) -> Result<Output, CommandError> {
    let output = output_with(command, input, limit).await?;
    succeeded(command, output)
}

fn succeeded(command: &Command, output: Output) -> Result<Output, CommandError> {
    if output.success() {
        return Ok(output);
    }
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    Err(CommandError::Failed {
        line: line(command),
        status: output.status,
        said: tail(said, TAIL_BYTES).to_owned(),
    })
}

/// At most this much of the end of a text, whole characters.
pub(crate) fn tail(text: &str, bytes: usize) -> &str {
    let text = text.trim_end();
    let from = text.len().saturating_sub(bytes);
    let from = (from..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    &text[from..]
}

fn line(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
