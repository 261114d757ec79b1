//! nodelet: the node agent. ARCHITECTURE.md says which task owns what.
#![forbid(unsafe_code)]

pub mod config;
pub mod flags;
pub mod events;
pub mod kubeconfig;
pub mod node;
pub mod sources;
mod clock;
mod pods;
mod runtime;
