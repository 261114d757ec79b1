//! What flows out of and into containers: their logs, exec, attach and port-forward.
//!
//! | module | owns |
//! |---|---|
//! | `logs` | reading and following the log files that a runtime writes |
//! | `upgrade` | connections that stop to speak HTTP: asked for at a runtime, passed on unread |
//! | `websocket` | WebSocket frames and handshakes |
//! | `spdy` | SPDY/3.1 frames and header blocks |
//! | `remote_command` | exec and attach for a client with a WebSocket |
//! | `port_forward` | port-forward for a client with a WebSocket |
//! | `bridge` | one side's frames into the other's |
//! | `fake` | a runtime's streaming server that a test drives by hand; behind the feature of this name |
//!
//! Nothing here starts a task or keeps state beyond one stream: a stream that is dropped leaves nothing behind, and each
//! has a bound on its memory that neither the file nor a slow reader can move.
#![forbid(unsafe_code)]

mod block;
mod bridge;
#[cfg(feature = "fake")]
pub mod fake;
pub mod logs;
pub mod port_forward;
pub mod remote_command;
pub mod spdy;
pub mod upgrade;
pub mod websocket;

pub use bridge::SessionEnd;
