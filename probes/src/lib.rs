//! When to probe a container, how results become a verdict, and, behind the feature `drivers`, the probes themselves.
//!
//! ```text
//!   container runs --> due at start + initialDelay --> result --> due again at the next beat of the period
//!                                                       | successThreshold / failureThreshold in a row
//!                                                       v
//!                                                    verdict
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `timing` | a probe's figures, with the API's defaults |
//! | `periods` | the annotation for periods below a second |
//! | `worker` | one probe of one run of a container: when it is due, what is believed |
//! | `schedule` | the deadlines of all probes of a node, and how many may be under way |
//! | `handler` | what a probe does, put together from the pod: address, port, request, command |
//! | `outcome` | what one attempt has shown |
//! | `drivers` | the attempts: HTTP, TCP, gRPC, and commands through whoever can run them |
//!
//! All but `drivers` is pure: a function of (state, input, now). `now` and all times are on one clock of the caller's that
//! never goes back. Nothing here survives a crash; verdicts do, in the pod's status.
#![forbid(unsafe_code)]

#[cfg(feature = "drivers")]
pub mod drivers;
mod handler;
mod outcome;
mod periods;
mod schedule;
mod timing;
mod worker;

pub use handler::{Handler, HandlerError, Http, Scheme, port};
pub use outcome::Outcome;
pub use periods::{ANNOTATION, PeriodError, Periods, SHORTEST_PERIOD};
pub use schedule::{Bounds, Due, Lane, Schedule};
pub use timing::Timing;
pub use worker::{Purpose, Verdict, Worker};
