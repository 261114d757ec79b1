//! The pod machine and the node machine in a simulated world: many pods at once on one node, with a model of the runtime, of the
//! API server and of the daemon's bookkeeping, in virtual time, with faults.
//!
//! ```text
//!   Scenario (seed, what is left out) -> World -> events one by one -> Ok, or the invariant that does not hold
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `scenario` | what a run consists of |
//! | `workload` | random pods and what is done to them |
//! | `script` | what processes, hooks and probes do by themselves |
//! | `faults` | what goes wrong |
//! | `world` | the queue of happenings, the clocks, the node's ups and downs |
//! | `node` | the task of the node machine |
//! | `tasks`, `daemon` | mailboxes, calls, statuses on their way, probes, the files on the disk |
//! | `calls`, `runtime`, `api` | what the daemon talks to |
//! | `truth` | what really happened |
//! | `going_down` | the node's orderly way down |
//! | `invariants` | what must hold after each event |
//! | `goal` | what must be reached when the faults are over |
//! | `churn` | hours of pods that come and go, and their end |
//! | `shrink` | the smallest run that still fails |
//!
//! The same seed gives the same run, on every machine.
#![forbid(unsafe_code)]

mod api;
mod calls;
mod churn;
mod daemon;
mod faults;
mod goal;
mod going_down;
mod invariants;
mod node;
mod random;
mod runtime;
mod scenario;
mod script;
mod shrink;
mod tasks;
mod timeline;
mod truth;
mod workload;
mod world;

use std::time::Duration;

pub use faults::{FaultKind, FaultSet};
pub use invariants::Broken;
pub use scenario::Scenario;
pub use shrink::shrink;
use world::World;

/// What a run that held comes to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Events in it.
    pub steps: u64,
    /// How long it took, in virtual time.
    pub lasted: Duration,
}

/// A run that did not hold.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The sentence.
    pub broken: Broken,
    /// When, since the run began.
    pub at: Duration,
    /// What happened before, one line a step; empty where it was not recorded.
    pub timeline: Vec<String>,
}

/// Runs `scenario`; with `recorded` a failure tells what happened before it.
///
/// # Errors
///
/// Where an invariant does not hold.
pub fn run(scenario: &Scenario, recorded: bool) -> Result<Summary, Box<Failed>> {
    let mut world = World::new(scenario.clone(), recorded);
    let outcome = match scenario.churn {
        Some(lasts) => world.outlast(lasts),
        None => world.reach_the_goal(),
    };
    match outcome {
        Ok(()) => Ok(Summary { steps: world.steps, lasted: world.time }),
        Err(broken) => {
            Err(Box::new(Failed { broken, at: world.time, timeline: world.timeline.into_lines() }))
        }
    }
}
