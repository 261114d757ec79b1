//! What is being done and how long it took, for somebody who watches.

use std::fmt;
use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// How often a step that is under way is shown anew on a terminal.
const REFRESH: Duration = Duration::from_secs(1);
const NAME_COLUMNS: usize = 52;

/// A step that is done.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// How long it took.
    pub took: Duration,
}

/// Tells on standard error what is being done; clones tell the same watcher.
#[derive(Clone)]
pub struct Progress {
    shown: bool,
    terminal: bool,
    // Held for a push only, never across an await.
    steps: Arc<Mutex<Vec<Step>>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Progress {
    /// Nobody watches; the times are kept all the same.
    #[must_use]
    pub fn silent() -> Self {
        Self { shown: false, terminal: false, steps: Arc::default() }
    }

    /// On standard error; a line that changes in place where that is a terminal.
    #[must_use]
    pub fn stderr() -> Self {
        Self { shown: true, terminal: std::io::stderr().is_terminal(), steps: Arc::default() }
    }

    /// A line of its own.
    pub fn note(&self, text: &str) {
        if self.shown {
            let clear = if self.terminal { "\r\x1b[K" } else { "" };
            // Nobody reads any more: nothing to be done about it.
            let _ = writeln!(std::io::stderr(), "{clear}  {text}");
        }
    }

    /// Does `work` and tells its name and how long it took.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn step<T, E>(&self, name: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begin = Instant::now();
        let mut refresh = tokio::time::interval(REFRESH);
        tokio::pin!(work);
        if self.shown && !self.terminal {
            let _ = writeln!(std::io::stderr(), "  {name} ...");
        }
        let outcome = loop {
            tokio::select! {
                // Cancel-safe: polled by reference.
                outcome = &mut work => break outcome,
                // Cancel-safe: a tick that is lost costs a refresh.
                _ = refresh.tick() => self.show(name, begin.elapsed(), " ..."),
            }
        };
        let took = begin.elapsed();
        if self.shown {
            self.show(name, took, if outcome.is_ok() { "" } else { "  FAILED" });
            if self.terminal {
                let _ = writeln!(std::io::stderr());
            } else {
                let failed = if outcome.is_ok() { "" } else { "  FAILED" };
                let _ = writeln!(
                    std::io::stderr(),
                    "  {name:NAME_COLUMNS$} {:7.1} s{failed}",
                    took.as_secs_f64()
                );
            }
        }
        if outcome.is_ok() {
            self.steps.lock().expect("a push cannot panic").push(Step { name: name.to_owned(), took });
        }
        outcome
    }

    /// The steps so far that succeeded.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.steps.lock().expect("a push cannot panic").clone()
    }

    fn show(&self, name: &str, so_far: Duration, end: &str) {
        if self.shown && self.terminal {
            let seconds = so_far.as_secs_f64();
            let _ = write!(std::io::stderr(), "\r\x1b[K  {name:NAME_COLUMNS$} {seconds:7.1} s{end}");
            let _ = std::io::stderr().flush();
        }
    }
}
