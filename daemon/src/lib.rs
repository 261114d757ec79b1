//! nodelet: the node agent. ARCHITECTURE.md says which task owns what.
#![forbid(unsafe_code)]

pub mod config;
pub mod flags;
