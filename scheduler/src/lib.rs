//! A small Kubernetes scheduler.
//!
//! ```text
//!  watch nodes ──┐                                   ┌── POST pods/binding, event Scheduled
//!  watch pods ───┼─ inputs ─> core (pure) ─ effects ─┼── PATCH pods/status, event FailedScheduling
//!  watch volumes ┘             ^                     └── PATCH persistentvolumes, before a binding
//!                              └──────── outcomes ─────────┘
//! ```
//!
//! * `watch`: a task for each kind (nodes, pods, volumes, claims, classes); they keep nothing but a resource version.
//! * `run`: the one task that owns the core; writes run beside it, bounded in number.
//! * `core`, `queue`, `decision`, `storage`, `plugins`: pure; who waits, when each is tried, which node is chosen and why none is.
//! * `api`: what is written. `health`: the endpoints for supervisors.
//!
//! Nothing survives a crash and nothing needs to: what is not bound is seen again in the list of pods.
#![forbid(unsafe_code)]

mod amounts;
mod api;
mod cause;
mod core;
mod decision;
mod flags;
mod health;
mod node;
mod plugins;
mod pod;
mod queue;
mod run;
mod storage;
mod watch;

pub use flags::Flags;
pub use pod::SCHEDULER_NAME;
pub use run::{StartError, run};
