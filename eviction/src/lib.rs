//! A node that runs short: what is measured, when that is too little, and which pod has to go.
//!
//! ```text
//!   observers (feature `drivers`): memory, file systems, process ids, the kernel's word of pressure
//!        |
//!   Observation --> thresholds met, ripe --> conditions of the node
//!        |                    |
//!        |                    v
//!        |          reclaim what is the node's own, measure again --> ranking --> one pod goes --> measure again
//!        |
//!   usage of pods --> limits of local storage --> whoever exceeds one goes
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `signal` | what is watched, and what it is about |
//! | `threshold` | the configuration's thresholds, and whether one is met |
//! | `observation` | one measurement, and which file system holds what |
//! | `pods` | what a pod asks for and what it uses |
//! | `ranking` | in which order pods go |
//! | `local_storage` | limits of emptyDirs, containers and pods |
//! | `message` | what is told of an eviction, and why it was this pod |
//! | `pace` | when the node is worth another look |
//! | `machine` | all of it in its order: [`Machine::step`] |
//! | `image_gc`, `dead_containers` | which images and containers go |
//! | `drivers` | the observers |
//!
//! All but `drivers` is pure. Nothing survives a crash: it is measured anew.
#![forbid(unsafe_code)]

pub mod dead_containers;
#[cfg(feature = "drivers")]
pub mod drivers;
pub mod image_gc;
mod local_storage;
mod machine;
mod message;
mod observation;
mod pace;
mod pods;
mod ranking;
mod signal;
mod threshold;

pub use local_storage::{Limit, exceeded};
pub use machine::{Effect, Eviction, HARD_GRACE, Input, Machine, Settings};
pub use message::Told;
pub use observation::{Layout, Left, Observation, Parts, Reclaim};
pub use pace::SLOWEST;
pub use pods::{Candidate, Container, ContainerUsage, Disk, EmptyDir, Usage};
pub use ranking::{Ranked, rank};
pub use signal::{Filesystem, Pressure, Resource, Signal};
pub use threshold::{Amount, Given, Threshold, ThresholdError, thresholds};
