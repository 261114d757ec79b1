//! A client of the container runtime interface (CRI v1) over a Unix socket.
//!
//! * [`Client`] makes calls: each with its deadline, each answer checked before it is handed on, each failure a
//!   [`CallError`] that says which call about what failed and how. Clones share one connection, which is made when it is
//!   first needed and made anew whenever it breaks. Dropping a call's future cancels the call.
//! * [`events`](Client::events) is the runtime's stream of container events; it reconnects by itself and says so.
//! * [`v1`] holds the messages as they are on the wire.
//! * With the feature `fake`, [`fake`] is a runtime made of state alone, for tests and as a hollow runtime.
//!
//! Nothing is kept over a restart: the runtime itself remembers everything.
#![forbid(unsafe_code)]

mod client;
mod error;
mod events;
#[cfg(feature = "fake")]
pub mod fake;
mod socket;

pub use client::{Client, Observe, Timeouts, Version};
pub use error::{CallError, Cause};
pub use events::{Event, EventStream};
pub use socket::{EndpointError, socket_path};
pub use tonic::Code;

/// The messages of CRI v1, generated from `proto/cri.proto`.
#[allow(missing_debug_implementations, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// No message may be larger (behaviour.md 47.4).
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
