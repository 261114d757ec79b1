//! `nodelet doctor`: whether this machine, its runtime and the configuration are fit for pods, and what to do where they are not.
//!
//! ```text
//!  flags, files, /proc, /sys, sockets ──gather──> Facts ──checks (pure)──> findings ──report (pure)──> lines, exit code
//! ```
//!
//! The daemon need not run. Where it does, it is its command line that counts.

mod checks;
mod facts;
mod gather;
mod report;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;

use super::socket::Socket;
use super::{Form, ViewError, form, output, print, print_value, root_dir};
use crate::flags::Flags;
use crate::membership;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Pods run, some of them not as they could.
    Warn,
    /// The daemon does not start, or pods do not run.
    Fail,
}

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; empty where there is nothing to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

/// Flags of the daemon that say what is checked.
const FLAGS: [(&str, &str); 6] = [
    ("config", "The daemon's configuration"),
    ("config-dir", "Its drop-ins"),
    ("kubeconfig", "How it reaches the API server"),
    ("cert-dir", "Its certificates"),
    ("hostname-override", "Name of the node instead of the host's name"),
    ("container-runtime-endpoint", "Socket of the container runtime"),
];

pub(super) fn command() -> Command {
    let mut command = Command::new("nodelet doctor")
        .about("Checks this machine, its runtime and the configuration, and says what to do. Ends with 1 where something fails")
        .arg(output(&["json"]))
        .arg(root_dir());
    for (name, help) in FLAGS {
        let argument = Arg::new(name).long(name).value_name("VALUE").value_parser(value_parser!(OsString));
        command = command.arg(argument.help(format!("{help}; as the daemon is started, unless it is given")));
    }
    command
}

pub(super) async fn run(matches: ArgMatches) -> Result<ExitCode, ViewError> {
    let root_dir = matches.get_one::<PathBuf>("root-dir").cloned().unwrap_or_default();
    let daemon = Socket::below(&root_dir).process().await.ok().flatten();
    let words = words(&matches, daemon);
    let flags = Flags::parse(words).map_err(|error| ViewError::Plain(error.to_string()))?;
    let facts = gather::facts(&flags, daemon).await;
    let findings = checks::all(&facts);
    match form(&matches) {
        Form::Text => print(&report::report(&findings))?,
        form => print_value(&findings, form)?,
    }
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The command line that counts: the running daemon's, or the package's, and what was given here after it. The program's name first.
fn words(matches: &ArgMatches, daemon: Option<i32>) -> Vec<OsString> {
    let mut words = daemon.and_then(command_line).unwrap_or_else(|| {
        let usual = membership::usual_words().into_iter().map(OsString::from);
        std::iter::once(OsString::from("nodelet")).chain(usual).collect()
    });
    for name in FLAGS.iter().map(|(name, _)| *name).chain(["root-dir"]) {
        let is_given = matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
        let value = match name {
            "root-dir" => matches.get_one::<PathBuf>(name).map(|path| path.clone().into_os_string()),
            name => matches.get_one::<OsString>(name).cloned(),
        };
        if let (true, Some(value)) = (is_given, value) {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            words.push(word);
        }
    }
    words
}

/// What a process was started with.
fn command_line(process: i32) -> Option<Vec<OsString>> {
    use std::os::unix::ffi::OsStrExt as _;
    let text = std::fs::read(Path::new("/proc").join(process.to_string()).join("cmdline")).ok()?;
    let words: Vec<OsString> = text
        .strip_suffix(&[0])
        .unwrap_or(&text)
        .split(|byte| *byte == 0)
        .map(|word| std::ffi::OsStr::from_bytes(word).to_owned())
        .collect();
    words.first().is_some_and(|program| !program.is_empty()).then_some(words)
}
