//! Taking a cgroup away: a state machine that never gives up and never waits itself (behaviour.md 21.12, pains.md 24).
//!
//! ```text
//!          gone                                   all removed
//!   Look --------------------------------------------------------> Done
//!    ^ \-- processes --> Kill -----------------.        ^
//!    | \-- empty ------> StopUnit (systemd) -> RemoveDirectory, innermost first
//!    |                        |                         | busy, or any error
//!    `------- Wait, each time longer <------------------'
//! ```
//!
//! Whoever carries the steps out reports each one's outcome and gets the next. What went wrong last is kept for the
//! status; the machine goes on.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// See whether the cgroup is there, has processes in or below it, and which cgroups are below it.
    Look,
    /// Kill all processes in and below it.
    Kill,
    /// Have systemd stop the slice; a unit that it does not know is stopped.
    StopUnit,
    /// Remove the directory of this path below the cgroup; empty is the cgroup itself. One that is gone is removed.
    RemoveDirectory(String),
    /// Let time pass.
    Wait(Duration),
    /// Nothing is left.
    Done,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// [`Step::Look`]: it is not there.
    Gone,
    /// [`Step::Look`]: it is there.
    Here {
        /// Whether there are processes in or below it.
        populated: bool,
        /// The cgroups below it, as paths from it, each behind those below itself.
        below: Vec<String>,
    },
    /// The step was carried out, or the time has passed.
    Done,
    /// The step was refused: the kernel's EBUSY, processes or cgroups have come meanwhile.
    Busy,
    /// The step failed otherwise.
    Failed(String),
}

/// Why the cgroup is still there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Stuck {
    /// Killed, and still there: they hang in the kernel.
    #[error("its processes do not end although they were killed {0} times")]
    Processes(u32),
    /// EBUSY.
    #[error("the directory {0:?} is busy")]
    Busy(String),
    /// Anything else.
    #[error("{step} failed: {message}")]
    Failed {
        /// What was tried.
        step: &'static str,
        /// Why it failed, with the path.
        message: String,
    },
}

/// The removal of one cgroup.
#[derive(Clone, Debug)]
pub struct Removal {
    systemd: bool,
    step: Step,
    /// What is to be removed after the current directory, the next one last.
    rest: Vec<String>,
    kills: u32,
    rounds: u32,
    stuck: Option<Stuck>,
}

impl Removal {
    /// Begins. With systemd the cgroup is a slice.
    pub fn new(systemd: bool) -> Self {
        Self { systemd, step: Step::Look, rest: Vec::new(), kills: 0, rounds: 0, stuck: None }
    }

    /// What is to be done next.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// What has kept it from being done in the last round; none while all goes well.
    pub fn stuck(&self) -> Option<&Stuck> {
        self.stuck.as_ref()
    }

    /// How often it had to wait.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Takes how the current step went; an outcome that does not belong to the step means another look.
    pub fn next(&mut self, outcome: Outcome) -> &Step {
        self.step = match (std::mem::replace(&mut self.step, Step::Look), outcome) {
            (Step::Done, _) | (_, Outcome::Gone) => Step::Done,
            (Step::Look, Outcome::Here { populated: true, .. }) => Step::Kill,
            (Step::Look, Outcome::Here { populated: false, below }) => {
                self.rest = below;
                self.rest.reverse();
                // The cgroup itself goes last.
                self.rest.insert(0, String::new());
                if self.systemd { Step::StopUnit } else { self.directory() }
            }
            (Step::Kill, Outcome::Done) => {
                self.kills = self.kills.saturating_add(1);
                // The kernel ends them a moment later; only those that stay are worth a word.
                if self.kills > 1 {
                    self.stuck = Some(Stuck::Processes(self.kills));
                }
                self.wait()
            }
            (Step::StopUnit, Outcome::Done) => self.directory(),
            (Step::RemoveDirectory(_), Outcome::Done) => self.directory(),
            (Step::RemoveDirectory(path), Outcome::Busy) => {
                self.stuck = Some(Stuck::Busy(path));
                self.wait()
            }
            // A unit that cannot be stopped is no reason to leave its directory.
            (Step::StopUnit, Outcome::Failed(message)) => {
                self.stuck = Some(Stuck::Failed { step: "stopping the slice", message });
                self.directory()
            }
            (step @ (Step::Look | Step::Kill | Step::RemoveDirectory(_)), Outcome::Failed(message)) => {
                self.stuck = Some(Stuck::Failed { step: name(&step), message });
                self.wait()
            }
            _ => Step::Look,
        };
        &self.step
    }

    /// The next directory; after the last one another look, which finds nothing.
    fn directory(&mut self) -> Step {
        self.rest.pop().map_or(Step::Look, Step::RemoveDirectory)
    }

    fn wait(&mut self) -> Step {
        let wait = FIRST_WAIT.saturating_mul(1 << self.rounds.min(20));
        self.rounds = self.rounds.saturating_add(1);
        Step::Wait(wait.min(LONGEST_WAIT))
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Look => "looking at it",
        Step::Kill => "killing its processes",
        Step::StopUnit => "stopping the slice",
        Step::RemoveDirectory(_) => "removing its directory",
        Step::Wait(_) => "waiting",
        Step::Done => "nothing",
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(self))
    }
}

#[cfg(test)]
mod tests;
