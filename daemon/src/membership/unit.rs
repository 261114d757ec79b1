//! The daemon as systemd sees it: its unit's state, and what is done with it.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// A start waits for the daemon's word that it is ready, which needs neither the runtime nor the API server.
const DEADLINE: Duration = Duration::from_secs(120);
/// Lines of the journal that are repeated in a message.
const LINES: &str = "5";

/// systemd does not do what it is told.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnitError {
    #[error("running {line}")]
    Start { line: String, source: std::io::Error },
    #[error("{line}: not done in {DEADLINE:?}")]
    Late { line: String },
    #[error("{line}: {said}")]
    Failed { line: String, said: String },
}

/// What systemd knows of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// There is such a unit, and it can be started.
    pub(super) loaded: bool,
    /// `active`, `activating`, `failed`, ...
    pub(super) active: String,
    /// How often systemd has started it again by itself.
    pub(super) restarts: u64,
}

/// What is asked of systemd. A trait, so that tests do without one.
pub(super) trait Units {
    /// What is known of a unit.
    async fn state(&self, unit: &str) -> Result<State, UnitError>;
    /// `systemctl ACTION UNIT`, to its end.
    async fn act(&self, action: &str, unit: &str) -> Result<(), UnitError>;
    /// The last lines of its log, as far as they are to be had.
    async fn last_words(&self, unit: &str) -> String;
}

/// The machine's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Systemd;

impl Units for Systemd {
    async fn state(&self, unit: &str) -> Result<State, UnitError> {
        let said = run("systemctl", &["show", "--property=LoadState,ActiveState,NRestarts", unit]).await?;
        Ok(parse(&said))
    }

    async fn act(&self, action: &str, unit: &str) -> Result<(), UnitError> {
        run("systemctl", &["--quiet", action, unit]).await.map(drop)
    }

    async fn last_words(&self, unit: &str) -> String {
        let arguments = ["--unit", unit, "--lines", LINES, "--output", "cat", "--no-pager", "--quiet"];
        run("journalctl", &arguments).await.unwrap_or_default().trim().to_owned()
    }
}

fn parse(said: &str) -> State {
    let mut state = State::default();
    for (name, value) in said.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "LoadState" => state.loaded = value == "loaded",
            "ActiveState" => state.active = value.to_owned(),
            "NRestarts" => state.restarts = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    state
}

async fn run(program: &str, arguments: &[&str]) -> Result<String, UnitError> {
    let line = || format!("{program} {}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output()).await.map_err(|_| UnitError::Late { line: line() })?;
    let output = output.map_err(|source| UnitError::Start { line: line(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let said = if said.is_empty() { output.status.to_string() } else { said };
        return Err(UnitError::Failed { line: line(), said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
pub(super) mod tests;
