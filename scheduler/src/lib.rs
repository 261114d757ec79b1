//! A small Kubernetes scheduler.
//!
//! ```text
//!  watch nodes ──┐                                   ┌── POST pods/binding, event Scheduled
//!                ├─ inputs ─> core (pure) ─ effects ─┤
//!  watch pods ───┘             ^                     └── PATCH pods/status, event FailedScheduling
//!                              └──────── outcomes ─────────┘
//! ```
//!
//! * `watch`: two tasks, one for each kind; they keep nothing but a resource version.
//! * `run`: the one task that owns the core; writes run beside it, bounded in number.
//! * `core`, `queue`, `decision`, `plugins`: pure; who waits, when each is tried, which node is chosen and why none is.
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
mod watch;

pub use flags::Flags;
pub use pod::SCHEDULER_NAME;
pub use run::{StartError, run};
