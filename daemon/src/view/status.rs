//! `nodelet status`: the node on a page.

mod page;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use serde::Serialize;

use super::socket::{AskError, Socket};
use super::summary::{Node, Psi, SECOND_LOOK, Summary};
use super::{Form, ViewError, form, output, print, print_value, root_dir, socket};
use crate::overview::Overview;

/// All that the page shows.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    overview: Overview,
    /// What is in use; absent where the daemon does not measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Node>,
    /// By resource; empty where the kernel does not measure.
    pressure: BTreeMap<&'static str, Psi>,
}

pub(super) fn command() -> Command {
    Command::new("nodelet status")
        .about("Shows this node on a page: what it is, whether it is well, what it has and uses, and what went wrong lately")
        .arg(output(&["json"]))
        .arg(root_dir())
}

pub(super) async fn run(matches: ArgMatches) -> Result<ExitCode, ViewError> {
    let socket = socket(&matches);
    let overview: Overview = socket.json("/nodelet/status").await?;
    let mut usage = usage(&socket).await?;
    if usage.as_ref().is_some_and(|node| node.cpu.usage_nano_cores.is_none()) {
        tokio::time::sleep(SECOND_LOOK).await;
        usage = self::usage(&socket).await?;
    }
    let shown = Shown { overview, usage, pressure: pressure(Path::new("/proc/pressure")) };
    match form(&matches) {
        Form::Text => print(&page::page(&shown))?,
        form => print_value(&shown, form)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn usage(socket: &Socket) -> Result<Option<Node>, AskError> {
    match socket.json::<Summary>("/stats/summary").await {
        Ok(summary) => Ok(Some(summary.node)),
        // The rest is worth showing all the same.
        Err(AskError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel says of the machine as a whole.
fn pressure(dir: &Path) -> BTreeMap<&'static str, Psi> {
    let read = |name| Some((name, Psi::parse(&std::fs::read_to_string(dir.join(name)).ok()?)));
    ["cpu", "memory", "io"].into_iter().filter_map(read).collect()
}
