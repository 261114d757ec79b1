//! How a shutdown of the machine waits for the pods (behaviour.md 42.2 to 42.4). Pure.
//!
//! ```text
//!          .-----------------< up after all <-----------------------------.----------.
//!          v                                      |                       |          |
//!  Up ----------> going down ----> Draining --------------------> Flushing -------> Done
//!   '- holds logind's lock            '- all have ended, or            '- their statuses are written,
//!                                        their time is over               or two seconds have passed
//! ```
//!
//! The lock is given back on the way to `Done`. logind goes on without it after `InhibitDelayMaxSec`, which is therefore
//! raised where it is shorter than what the pods may take.

use std::time::Duration;

use tokio::time::Instant;

/// How long the last statuses may take when their pods have ended.
pub(super) const FLUSH: Duration = Duration::from_secs(2);

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// logind is reached. A lock delays a shutdown by `longest` at most; `down` says whether one has begun.
    Reached {
        longest: Duration,
        down: bool,
    },
    /// The drop-in is written, or could not be.
    Raised,
    /// logind says that the machine goes down, or that it stays up after all.
    Prepare(bool),
    /// All pods have ended, or have had their time.
    Over,
    /// What they had to say is written.
    Flushed,
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Have logind wait longer for its locks: so long.
    Raise(Duration),
    /// Take the lock, in place of an older one.
    Inhibit,
    /// Give it back.
    Release,
    /// From now on the node goes down, or stays up.
    Down(bool),
    /// Wait for the last statuses.
    Flush,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Up,
    Draining { until: Instant },
    Flushing { until: Instant },
    Done,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Inhibitor {
    /// All that the pods may take.
    grace: Duration,
    stage: Stage,
}

impl Inhibitor {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, stage: Stage::Up }
    }

    /// What follows from `input`, in this order.
    pub(super) fn step(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match (input, self.stage) {
            // Also after a start in the midst of it: logind gives no locks any more, and waits for nobody new.
            (Input::Reached { down: true, .. } | Input::Prepare(true), Stage::Up) => {
                self.stage = Stage::Draining { until: now + self.grace };
                vec![Effect::Down(true)]
            }
            (Input::Reached { longest, down: false }, Stage::Up) if longest < self.grace => {
                vec![Effect::Raise(self.grace)]
            }
            (Input::Reached { down: false, .. } | Input::Raised, Stage::Up) => vec![Effect::Inhibit],
            (Input::Prepare(false) | Input::Reached { down: false, .. }, stage) => {
                self.stage = Stage::Up;
                let turn = (stage != Stage::Up).then_some(Effect::Down(false));
                turn.into_iter().chain([Effect::Inhibit]).collect()
            }
            (Input::Over, Stage::Draining { .. }) => self.flush(now),
            (Input::Tick, Stage::Draining { until }) if now >= until => self.flush(now),
            (Input::Flushed, Stage::Flushing { .. }) => self.release(),
            (Input::Tick, Stage::Flushing { until }) if now >= until => self.release(),
            _ => Vec::new(),
        }
    }

    /// When a tick is due.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        match self.stage {
            Stage::Draining { until } | Stage::Flushing { until } => Some(until),
            Stage::Up | Stage::Done => None,
        }
    }

    fn flush(&mut self, now: Instant) -> Vec<Effect> {
        self.stage = Stage::Flushing { until: now + FLUSH };
        vec![Effect::Flush]
    }

    fn release(&mut self) -> Vec<Effect> {
        self.stage = Stage::Done;
        vec![Effect::Release]
    }
}

#[cfg(test)]
mod tests;
