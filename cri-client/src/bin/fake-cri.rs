//! A container runtime made of state alone, behind a socket: `fake-cri --socket PATH [--script FILE] [--calls FILE]`.
//!
//! SIGHUP reads the script again; SIGTERM and SIGINT end it. See `cri_client::fake`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cri_client::fake::{FakeRuntime, Script};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: fake-cri --socket PATH [--script FILE] [--calls FILE]";
const EXIT_BAD_USAGE: u8 = 2;

#[derive(Default)]
struct Arguments {
    socket: PathBuf,
    script: Option<PathBuf>,
    calls: Option<PathBuf>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--socket" => arguments.socket = value.into(),
            "--script" => arguments.script = Some(value.into()),
            "--calls" => arguments.calls = Some(value.into()),
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    if arguments.socket.as_os_str().is_empty() {
        return Err("--socket is missing".to_owned());
    }
    Ok(arguments)
}

fn read_script(path: &Path) -> Result<Script, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("reading {}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let runtime = FakeRuntime::new();
    if let Some(script) = &arguments.script {
        runtime.set_script(read_script(script)?);
    }
    if let Some(calls) = &arguments.calls {
        runtime.record_calls(calls).map_err(|e| format!("opening {}: {e}", calls.display()))?;
    }
    let socket = &arguments.socket;
    let _server = runtime.serve(socket).map_err(|e| format!("listening on {}: {e}", socket.display()))?;
    let signals = |kind| signal(kind).map_err(|e| format!("waiting for signals: {e}"));
    let (mut again, mut term, mut int) = (
        signals(SignalKind::hangup())?,
        signals(SignalKind::terminate())?,
        signals(SignalKind::interrupt())?,
    );
    loop {
        tokio::select! {
            // Cancel-safe: a signal that was not taken is kept.
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = again.recv() => if let Some(script) = &arguments.script {
                match read_script(script) {
                    Ok(script) => runtime.set_script(script),
                    Err(error) => eprintln!("fake-cri: the script stays as it was: {error}"),
                }
            },
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("fake-cri: {error}\n{USAGE}");
            return ExitCode::from(EXIT_BAD_USAGE);
        }
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-cri: {error}");
            ExitCode::FAILURE
        }
    }
}
