//! `nodelet top`: what pods and containers use, live.
//!
//! ```text
//!  /pods, /stats/summary, /metrics/probes ──rows──> every pod and container ──screen──> lines of this terminal
//!  keys ──keys──> order, filter, scroll ────────────────────────'
//! ```

mod keys;
mod rows;
mod screen;

use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use self::keys::{Done, View};
use self::rows::{Order, Row, Rows};
use self::screen::{Head, screen, table};
use super::socket::{AskError, Socket};
use super::summary::{Node, SECOND_LOOK, Summary};
use super::terminal::{self, Endings, Raw, Size};
use super::{ViewError, print, root_dir, socket};
use crate::cause::chain;
use crate::config::GoDuration;
use crate::overview::Overview;

/// Of a terminal that does not tell its size.
const USUAL: Size = Size { columns: 80, rows: 24 };
/// A shorter interval would show noise.
const SHORTEST: Duration = Duration::from_millis(200);
/// The series of the probes of a full node.
const SERIES_BYTES: usize = 64 * 1024 * 1024;

pub(super) fn command() -> Command {
    let value = |name: &'static str, shown: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(shown).help(help)
    };
    Command::new("nodelet top")
        .about("Shows live what the pods and containers of this node use, how often they were restarted, and what their probes say")
        .arg(
            value("sort", "ORDER", "What stands first")
                .value_parser(["cpu", "memory", "name", "restarts"])
                .default_value("cpu"),
        )
        .arg(value("namespace", "NAME", "Only pods of this namespace").short('n'))
        .arg(value("filter", "TEXT", "Only pods with this in their name, or in a container's"))
        .arg(
            value("interval", "DURATION", "Between two looks")
                .default_value("2s")
                .value_parser(|text: &str| text.parse::<GoDuration>().map(GoDuration::to_std)),
        )
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Print one table and end; so it is where standard output is no terminal"),
        )
        .arg(root_dir())
}

pub(super) async fn run(matches: ArgMatches) -> Result<ExitCode, ViewError> {
    let socket = socket(&matches);
    let order = Order::named(matches.get_one::<String>("sort").map_or("", String::as_str));
    let filter = matches.get_one::<String>("filter").cloned().unwrap_or_default();
    let view = View::new(order, filter);
    let namespace = matches.get_one::<String>("namespace").cloned();
    let interval = matches.get_one::<Duration>("interval").copied().unwrap_or_default().max(SHORTEST);
    let looking = Looking { socket, namespace };
    if matches.get_flag("once") || !terminal::stdout_is_terminal() || !terminal::stdin_is_terminal() {
        return looking.once(&view).await;
    }
    looking.live(view, interval).await
}

/// Where it is looked, and for what.
struct Looking {
    socket: Socket,
    namespace: Option<String>,
}

impl Looking {
    async fn look(&self) -> Result<(Rows, Node), AskError> {
        let pods: Value = self.socket.json("/pods").await?;
        let summary = match self.socket.json("/stats/summary?only_cpu_and_memory=true").await {
            Ok(summary) => summary,
            // The rest is worth showing all the same.
            Err(AskError::Refused { .. }) => Summary::default(),
            Err(error) => return Err(error),
        };
        let series = match self.socket.whole("/metrics/probes", SERIES_BYTES).await {
            Ok(series) => series,
            Err(AskError::Answer { .. }) => Bytes::new(),
            Err(error) => return Err(error),
        };
        let probed = rows::probed(&String::from_utf8_lossy(&series));
        Ok((Rows::of(&pods, &summary, &probed, self.namespace.as_deref()), summary.node))
    }

    async fn once(&self, view: &View) -> Result<ExitCode, ViewError> {
        let (mut rows, _) = self.look().await?;
        if rows.lacks_rates() {
            tokio::time::sleep(SECOND_LOOK).await;
            rows = self.look().await?.0;
        }
        let shown: Vec<&Row> = rows.arranged(view.order, &view.filter);
        print(&table(&shown).text())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn live(&self, mut view: View, every: Duration) -> Result<ExitCode, ViewError> {
        // What cannot be asked at all is told before the screen is taken.
        let overview: Overview = self.socket.json("/nodelet/status").await?;
        let mut endings = Endings::new().map_err(ViewError::Terminal)?;
        let mut resized = terminal::resized().map_err(ViewError::Terminal)?;
        let _raw = Raw::with_screen().map_err(ViewError::Terminal)?;
        let mut typed = terminal::input();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rows = Rows::default();
        let mut head = Head::of(&overview);
        // One at a time, and beside everything else: a daemon that hangs does not keep keys and signals waiting.
        let mut looking = None;
        loop {
            let is_looking = looking.is_some();
            let seen = async {
                match &mut looking {
                    Some(look) => Pin::new(look).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Cancel-safe: only a time.
                _ = ticks.tick(), if !is_looking => {
                    looking = Some(Box::pin(self.look()));
                    continue;
                }
                // Cancel-safe: it goes on where it was.
                seen = seen => {
                    looking = None;
                    match seen {
                        Ok((newest, node)) => {
                            rows = newest;
                            head.update(&rows, node);
                        }
                        // It may come back; what was seen last stays, with a word about it.
                        Err(error) => head.trouble = Some(chain(&error)),
                    }
                }
                // Cancel-safe: a piece that is not taken stays in the queue.
                piece = typed.recv() => match piece {
                    Some(piece) if view.type_in(&piece) == Done::Yes => return Ok(ExitCode::SUCCESS),
                    Some(_) => {}
                    // The terminal is gone.
                    None => return Ok(ExitCode::SUCCESS),
                },
                // Cancel-safe: only that there was a change is told.
                _ = resized.recv() => {}
                // Cancel-safe: see there.
                code = endings.next() => return Ok(code),
            }
            let size = terminal::size(io::stdout()).unwrap_or(USUAL);
            let shown = rows.arranged(view.order, &view.filter);
            terminal::show(&screen(&head, &shown, &mut view, size)).map_err(ViewError::Output)?;
        }
    }
}
