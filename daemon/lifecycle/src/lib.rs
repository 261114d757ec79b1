//! What a node agent decides about its pods, as two pure machines.
//!
//! ```text
//!            Assigned  Removed  RuntimeChanged  Answered  Slot  Admission  Published  Tick
//!                 \       |          |             |        |       |          |      /
//!                  `------+----------+-------------+--------+-------+----------+-----'
//!                                              |
//!                               Pod::step(input, now) -> effects
//!                                              |
//!      Call(Observe, RunSandbox, PullImage, CreateContainer, StopContainer, ...) . Cancel . AskSlot .
//!      Admit . Publish . Event . Finished                 and   Pod::next_wake() -> deadline
//! ```
//!
//! * [`Pod`] holds one pod: when its sandbox and containers are made, restarted, stopped and removed, and what its status
//!   says. Nothing is assumed about the runtime: whatever may have changed it marks the last [`Observation`] stale, the
//!   machine asks for a fresh one, and plans from that.
//! * [`Node`] holds what needs more than one pod: who may run beside whom and who is put out for it, which UID owns a pod's
//!   full name, how many starts the runtime is given at once, and in which order pods end when the node goes down.
//!
//! There is no clock, task, file or socket in this crate: `now` comes in with each input, effects are carried out by
//! the daemon, their outcomes come back as inputs. A call is known by its [`OpId`]; an answer to a call that is no
//! longer waited for is ignored. What survives a restart of the daemon is in the runtime (labels and annotations) and
//! in the API; a new machine rebuilds the rest from its first observation and publishes nothing before that.
#![forbid(unsafe_code)]

mod backoff;
mod conditions;
mod container;
mod effect;
mod input;
mod node;
mod now;
mod observation;
mod phase;
mod pod;
mod recording;
mod status;
mod tell;
mod unsupported;

pub use backoff::Backoff;
pub use container::ContainerKind;
pub use effect::{
    Call, Deadline, Effect, Event, EventType, Hook, Kept, OpId, ProbeKind, ProbeTarget, Resource, SlotClass,
};
pub use input::{Answer, Assignment, Failure, FailureKind, Input, Origin, ResizeVerdict};
pub use node::{Facts, Node, NodeEffect, NodeInput, Pressure, PullLimits, ShutdownGroup};
pub use now::Now;
pub use observation::{ActualResources, Container, ContainerState, ContainerUser, Observation, Sandbox};
pub use pod::{DeadContainers, Pod, Settings, Wait};
pub use recording::{Line, Played, Recording};
pub use unsupported::{Supported, unsupported_fields};
