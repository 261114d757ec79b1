//! The daemon's own log: text or JSON to standard error, as `logging` says. Text for the journal goes to it with its fields.

mod journal;
pub(crate) mod recent;

use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Logging;
use journal::Journal;

/// What has a log that was started show more or less.
static WANTED: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// `-v 2` and more shows debug lines, `-v 5` and more traces.
fn wanted(verbosity: u32) -> Targets {
    let level = match verbosity {
        0 | 1 => Level::INFO,
        2..=4 => Level::DEBUG,
        _ => Level::TRACE,
    };
    // What libraries say is for their authors, unless everything is asked for.
    let others = if level == Level::TRACE { Level::DEBUG } else { Level::WARN };
    Targets::new()
        .with_default(others)
        .with_target("nodelet", level)
        .with_target("streams", level)
        // What it says is said again, with its cause, by whoever asked.
        .with_target("kube_client", tracing_subscriber::filter::LevelFilter::OFF)
}

/// Shows more or less from now on (behaviour.md 35.15).
///
/// # Errors
/// There is no log.
pub(crate) fn set_verbosity(verbosity: u32) -> Result<(), String> {
    let handle = WANTED.get().ok_or("the log was not started")?;
    handle.reload(wanted(verbosity)).map_err(|error| error.to_string())
}

/// Starts the log.
pub fn start(logging: &Logging) {
    let (wanted, handle) = reload::Layer::new(wanted(logging.verbosity));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(wanted).with(recent::Recent);
    // Only a second start in one process can fail, and then the first log goes on.
    let started = if logging.format == "json" {
        registry.with(lines.json()).try_init()
    } else if let Some(journal) = Journal::behind_stderr() {
        registry.with(journal).try_init()
    } else {
        registry.with(lines.with_ansi(false)).try_init()
    };
    if started.is_ok() {
        let _ = WANTED.set(handle);
    }
}
