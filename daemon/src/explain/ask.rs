//! The command: asks the daemon or reads a file, and prints.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, Command, value_parser};
use thiserror::Error;

use super::{Answer, socket, tell};
use crate::cause::chain;

const EXIT_BAD_USAGE: u8 = 2;
/// A recording is bounded; this is far more.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no explanation.
#[derive(Debug, Error)]
enum AskError {
    #[error("nodelet cannot be asked at {path}: is it running with this --root-dir, and is this root?", path = path.display())]
    Daemon { path: PathBuf, source: std::io::Error },
    #[error("{doing} {path}", path = path.display())]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{from} holds no recording of this version of nodelet")]
    Recording { from: String, source: serde_json::Error },
    #[error("nodelet knows no pod {0} (give NAMESPACE/NAME)")]
    NoPod(String),
}

/// Runs `nodelet explain` with its arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help goes to standard output, a mistake to standard error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let pod = matches.get_one::<String>("pod").cloned().unwrap_or_default();
    let done = match path("replay") {
        Some(file) => read(&file),
        None => ask(&pod, &path("root-dir").unwrap_or_default()),
    };
    let told = done.and_then(|text| tell_all(&text, &pod, path("save")));
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nodelet: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let file = |name: &'static str| Arg::new(name).long(name).value_parser(value_parser!(PathBuf));
    Command::new("nodelet explain")
        .about(
            "Tells why a pod of this node is in its present state, what it waits for, and what happened when",
        )
        .arg(Arg::new("pod").value_name("NAMESPACE/POD").required_unless_present("replay"))
        .arg(
            file("root-dir")
                .value_name("DIR")
                .default_value("/var/lib/kubelet")
                .help("Root directory of the daemon that is asked"),
        )
        .arg(file("save").value_name("FILE").help("Keep the recording in a file as well"))
        .arg(
            file("replay")
                .value_name("FILE")
                .conflicts_with("save")
                .help("Tell a recording that was saved, without a daemon"),
        )
}

fn ask(pod: &str, root_dir: &std::path::Path) -> Result<Vec<u8>, AskError> {
    let path = socket(root_dir);
    let asked = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        writeln!(stream, "{pod}")?;
        let mut text = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut text)?;
        Ok(text)
    };
    asked().map_err(|source| AskError::Daemon { path: path.clone(), source })
}

fn read(file: &std::path::Path) -> Result<Vec<u8>, AskError> {
    std::fs::read(file).map_err(|source| AskError::File { doing: "reading", path: file.to_owned(), source })
}

fn tell_all(text: &[u8], pod: &str, save: Option<PathBuf>) -> Result<(), AskError> {
    let answer: Answer = serde_json::from_slice(text)
        .map_err(|source| AskError::Recording { from: "the answer".to_owned(), source })?;
    if answer.recordings.is_empty() {
        return Err(AskError::NoPod(pod.to_owned()));
    }
    if let Some(file) = save {
        write(&file, text).map_err(|source| AskError::File { doing: "writing", path: file, source })?;
    }
    for recording in &answer.recordings {
        print!("{}", tell::story(recording, answer.now));
    }
    Ok(())
}

/// The pod's object is in it: nobody else may read it.
fn write(file: &std::path::Path, text: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut out =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    out.write_all(text)
}
