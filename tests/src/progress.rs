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

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watcher {
    Nobody,
    /// Lines that change in place.
    Terminal,
    /// Lines that are added.
    Stream,
    /// A test's output, which is shown when it fails.
    Test,
}

/// Tells on standard error what is being done; clones tell the same watcher.
#[derive(Clone)]
pub struct Progress {
    watcher: Watcher,
    // Held for a push only, never across an await.
    steps: Arc<Mutex<Vec<Step>>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("watcher", &self.watcher).finish_non_exhaustive()
    }
}

impl Progress {
    /// Nobody watches; the times are kept all the same.
    #[must_use]
    pub fn silent() -> Self {
        Self { watcher: Watcher::Nobody, steps: Arc::default() }
    }

    /// On standard error; a line that changes in place where that is a terminal.
    #[must_use]
    pub fn stderr() -> Self {
        let watcher = if std::io::stderr().is_terminal() { Watcher::Terminal } else { Watcher::Stream };
        Self { watcher, steps: Arc::default() }
    }

    /// Into the output of the test that runs.
    #[must_use]
    pub fn test() -> Self {
        Self { watcher: Watcher::Test, steps: Arc::default() }
    }

    /// A line of its own.
    pub fn note(&self, text: &str) {
        self.line(&format!("  {text}"));
    }

    fn line(&self, text: &str) {
        // Nobody reads any more: nothing to be done about it.
        let _ = match self.watcher {
            Watcher::Nobody => Ok(()),
            Watcher::Terminal => writeln!(std::io::stderr(), "\r\x1b[K{text}"),
            Watcher::Stream => writeln!(std::io::stderr(), "{text}"),
            Watcher::Test => {
                // The macro, unlike the stream itself, writes into the test's output.
                eprintln!("{text}");
                Ok(())
            }
        };
    }

    /// Does `work`, which shows what it does by itself, and tells how long it took.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn loud_step<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.note(&format!("{name} ..."));
        let begin = Instant::now();
        let outcome = work.await;
        self.end(name, begin.elapsed(), outcome.is_ok());
        outcome
    }

    /// Does `work` and tells its name and how long it took.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn step<T, E>(&self, name: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begin = Instant::now();
        let mut refresh = tokio::time::interval(REFRESH);
        tokio::pin!(work);
        if self.watcher == Watcher::Stream {
            self.note(&format!("{name} ..."));
        }
        let outcome = loop {
            tokio::select! {
                // Cancel-safe: polled by reference.
                outcome = &mut work => break outcome,
                // Cancel-safe: a tick that is lost costs a refresh.
                _ = refresh.tick() => self.refresh(name, begin.elapsed()),
            }
        };
        self.end(name, begin.elapsed(), outcome.is_ok());
        outcome
    }

    /// The steps so far that succeeded.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.steps.lock().expect("a push cannot panic").clone()
    }

    fn end(&self, name: &str, took: Duration, succeeded: bool) {
        let failed = if succeeded { "" } else { "  FAILED" };
        self.line(&format!("{}{failed}", row(name, took)));
        if succeeded {
            self.steps.lock().expect("a push cannot panic").push(Step { name: name.to_owned(), took });
        }
    }

    fn refresh(&self, name: &str, so_far: Duration) {
        if self.watcher == Watcher::Terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{} ...", row(name, so_far));
            let _ = std::io::stderr().flush();
        }
    }
}

fn row(name: &str, took: Duration) -> String {
    format!("  {name:NAME_COLUMNS$} {:7.1} s", took.as_secs_f64())
}
