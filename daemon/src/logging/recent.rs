//! The last warnings and errors of the log, for `nodelet status`: what has gone wrong lately, also where no journal is kept.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::journal::Visited;

/// How many are kept; one that is said again and again is one of them.
const KEPT: usize = 16;
/// Longer lines are cut.
const LINE_BYTES: usize = 500;

/// One thing that was said, once or more often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// When it was said last.
    pub(crate) at: Timestamp,
    /// Else it was a warning.
    pub(crate) is_error: bool,
    pub(crate) times: u64,
    pub(crate) line: String,
}

/// The process has one log.
static SAID: Mutex<VecDeque<Said>> = Mutex::new(VecDeque::new());

/// What was said, the newest last.
pub(crate) fn said() -> Vec<Said> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return;
        }
        let mut visited = Visited::default();
        event.record(&mut visited);
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut said, Timestamp::now(), level == Level::ERROR, visited.line());
    }
}

fn keep(said: &mut VecDeque<Said>, at: Timestamp, is_error: bool, mut line: String) {
    line.truncate(line.floor_char_boundary(LINE_BYTES));
    let known = said.iter().position(|one| one.line == line);
    let times = known.and_then(|known| said.remove(known)).map_or(0, |one| one.times);
    if said.len() == KEPT {
        said.pop_front();
    }
    said.push_back(Said { at, is_error, times: times + 1, line });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_one_that_is_said_again_is_counted() {
        let mut said = VecDeque::new();
        let at = Timestamp::UNIX_EPOCH;
        for number in 0..20 {
            keep(&mut said, at, false, format!("line {number}"));
        }
        keep(&mut said, at, false, "line 10".to_owned());
        keep(&mut said, at, true, "ä".repeat(LINE_BYTES));
        assert_eq!(said.len(), KEPT);
        assert_eq!(said[0].line, "line 5");
        assert_eq!((said[14].times, said[14].line.as_str()), (2, "line 10"));
        assert_eq!((said[15].is_error, said[15].line.len()), (true, LINE_BYTES));
    }
}
