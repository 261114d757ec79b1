//! Whether the daemon is well: what `/healthz/syncloop` says and systemd's watchdog is fed for (behaviour.md 35.2, 42.7, pains.md 1).
//!
//! Well is: the supervisor and the node task answer a question in time, and the runtime has answered lately. One pod whose
//! calls hang, or an API server that is away, are no illness of the daemon: a restart cures neither.

use std::fmt;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::node::RuntimeState;
use crate::stop::stopped;

/// How often it is looked where nobody wants to know it oftener.
pub(crate) const PERIOD: Duration = Duration::from_secs(10);
/// The runtime is asked each ten seconds and may take ten for its answer: it has missed several.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(60);
/// An answer takes milliseconds.
const PODS_PATIENCE: Duration = Duration::from_secs(10);
/// So long an answer is waited for before it is looked at again in the next round.
const PROMPT: Duration = Duration::from_millis(250);
/// A question that is answered by the supervisor and then by the node task.
pub(crate) type Ping = oneshot::Sender<()>;

/// What was found last.
pub(crate) type Verdict = Result<(), Ill>;

/// What the daemon knows of its own health.
#[derive(Clone, Copy, Debug)]
struct Health {
    /// When the daemon came up.
    started: Instant,
    /// When the runtime answered last, whatever it said.
    runtime: Option<Instant>,
    /// Since when the pods' tasks owe an answer.
    pods: Option<Instant>,
}

/// Why the daemon is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    Runtime,
    Pods,
}

impl fmt::Display for Ill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime => write!(f, "the container runtime has not answered for {RUNTIME_PATIENCE:?}"),
            Self::Pods => write!(f, "the tasks of the pods have not answered for {PODS_PATIENCE:?}"),
        }
    }
}

impl Health {
    fn verdict(&self, now: Instant) -> Verdict {
        let waited = |since: Instant| now.saturating_duration_since(since);
        if self.pods.is_some_and(|since| waited(since) > PODS_PATIENCE) {
            return Err(Ill::Pods);
        }
        if waited(self.runtime.unwrap_or(self.started)) > RUNTIME_PATIENCE {
            return Err(Ill::Runtime);
        }
        Ok(())
    }
}

/// Looks each `period` until `stop`; each look is told, also when it finds the same.
pub(crate) async fn run(
    period: Duration,
    pings: mpsc::Sender<Ping>,
    runtime: watch::Receiver<RuntimeState>,
    verdicts: watch::Sender<Verdict>,
    mut stop: watch::Receiver<bool>,
) {
    let mut rounds = interval(period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut health = Health { started: Instant::now(), runtime: None, pods: None };
    let mut owed: Option<oneshot::Receiver<()>> = None;
    let mut before = Ok(());
    loop {
        tokio::select! {
            // Cancel-safe: a level.
            () = stopped(&mut stop) => return,
            // Cancel-safe: only a time.
            _ = rounds.tick() => {}
        }
        health.runtime = runtime.borrow().answered;
        // Before the runtime has told its name there are no pods, and nobody who would answer.
        if owed.is_none() && health.runtime.is_some() {
            let (ping, answer) = oneshot::channel();
            // Where it cannot be taken it is dropped, and that is no answer.
            drop(pings.try_send(ping));
            owed = Some(answer);
            health.pods.get_or_insert_with(Instant::now);
        }
        if let Some(answer) = &mut owed {
            match timeout(PROMPT, answer).await {
                Ok(Ok(())) => {
                    owed = None;
                    health.pods = None;
                }
                // It was dropped. The debt stays, and the next round asks again.
                Ok(Err(_)) => owed = None,
                Err(_) => {}
            }
        }
        let verdict = health.verdict(Instant::now());
        match verdict {
            Ok(()) if before.is_err() => tracing::info!("the daemon is well again"),
            Err(ill) if before != verdict => {
                tracing::error!("the daemon is not well: {ill}");
            }
            _ => {}
        }
        before = verdict;
        // What it was before is known here.
        let _ = verdicts.send_replace(verdict);
    }
}

#[cfg(test)]
mod tests;
