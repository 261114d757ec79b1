//! The node for people at its own terminal: `nodelet status`, `top`, `pods`, `logs`, `exec` and `doctor`. None of them needs an API
//! server, and `doctor` not even a daemon.
//!
//! ```text
//!  status, top ──/nodelet/status, /stats/summary, /pods──┐
//!  pods        ──/pods───────────────────────────────────┼──> <root-dir>/nodelet/node.sock ──> server
//!  logs, exec  ──/containerLogs, /exec (WebSocket)───────┘    (root only)
//!  doctor      ──the machine, the files, the runtime, and the socket if somebody answers there
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `socket` | questions to the daemon |
//! | `target` | the pod and the container that a command line names |
//! | `table` | columns; pure |
//! | `amount` | quantities, durations and shares as people read them; pure |
//! | `terminal` | the terminal's modes, and its state afterwards |
//! | `pods`, `logs`, `exec` | the commands of these names |
//! | `summary` | what `/stats/summary` says |
//! | `status`, `top` | pages, made by pure functions from what was asked |
//! | `doctor` | facts about the machine, and what they mean; the second part is pure |

mod amount;
mod doctor;
mod exec;
mod logs;
mod pods;
mod socket;
mod status;
mod summary;
mod table;
mod target;
mod terminal;
mod top;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use thiserror::Error;

use self::socket::{AskError, Socket};
use crate::cause::chain;

const EXIT_BAD_USAGE: u8 = 2;

/// Why a command has nothing to show.
#[derive(Debug, Error)]
enum ViewError {
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Whatever the user can do something about, in words.
    #[error("{0}")]
    Plain(String),
    #[error("writing to standard output")]
    Output(#[source] io::Error),
    #[error("the terminal")]
    Terminal(#[source] io::Error),
}

/// `nodelet status`
pub(crate) fn status(arguments: Vec<OsString>) -> ExitCode {
    run(status::command(), arguments, status::run)
}

/// `nodelet top`
pub(crate) fn top(arguments: Vec<OsString>) -> ExitCode {
    run(top::command(), arguments, top::run)
}

/// `nodelet pods`
pub(crate) fn pods(arguments: Vec<OsString>) -> ExitCode {
    run(pods::command(), arguments, pods::run)
}

/// `nodelet logs`
pub(crate) fn logs(arguments: Vec<OsString>) -> ExitCode {
    run(logs::command(), arguments, logs::run)
}

/// `nodelet exec`
pub(crate) fn exec(arguments: Vec<OsString>) -> ExitCode {
    run(exec::command(), arguments, exec::run)
}

/// `nodelet doctor`
pub(crate) fn doctor(arguments: Vec<OsString>) -> ExitCode {
    run(doctor::command(), arguments, doctor::run)
}

fn run(
    command: Command,
    arguments: Vec<OsString>,
    work: impl AsyncFnOnce(ArgMatches) -> Result<ExitCode, ViewError>,
) -> ExitCode {
    let name = command.get_name().to_owned();
    let matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help goes to standard output, a mistake to standard error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: the asynchronous runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work(matches)) {
        Ok(code) => code,
        // Whoever read has had enough.
        Err(ViewError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Of every command: which daemon is asked.
fn root_dir() -> Arg {
    Arg::new("root-dir")
        .long("root-dir")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .default_value("/var/lib/kubelet")
        .help("Root directory of the daemon that is asked")
}

fn socket(matches: &ArgMatches) -> Socket {
    Socket::below(&matches.get_one::<PathBuf>("root-dir").cloned().unwrap_or_default())
}

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Yaml,
}

fn output(forms: &'static [&'static str]) -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FORM")
        .value_parser(clap::builder::PossibleValuesParser::new(forms))
        .help("Print it for programs")
}

fn form(matches: &ArgMatches) -> Form {
    match matches.get_one::<String>("output").map(String::as_str) {
        Some("json") => Form::Json,
        Some("yaml") => Form::Yaml,
        _ => Form::Text,
    }
}

/// Writes it all at once, and what is there before it.
fn print(text: &str) -> Result<(), ViewError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ViewError::Output)
}

/// A value for programs.
fn print_value(value: &impl serde::Serialize, form: Form) -> Result<(), ViewError> {
    let wrong = |error: String| ViewError::Plain(format!("writing the answer: {error}"));
    let text = match form {
        Form::Yaml => serde_saphyr::to_string(value).map_err(|error| wrong(error.to_string()))?,
        Form::Json | Form::Text => {
            serde_json::to_string_pretty(value).map_err(|error| wrong(error.to_string()))? + "\n"
        }
    };
    print(&text)
}
