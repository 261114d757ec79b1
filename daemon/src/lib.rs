//! nodelet: the node agent. ARCHITECTURE.md says which task owns what.
#![forbid(unsafe_code)]

mod cause;
pub mod cgroups;
mod clock;
pub mod commands;
pub mod config;
pub mod credentials;
pub mod daemon;
pub mod events;
mod eviction;
pub mod explain;
pub mod flags;
mod followed;
mod garbage;
mod health;
pub mod images;
pub mod kubeconfig;
pub mod ledger;
mod local_socket;
pub mod lock;
mod log_rotation;
pub mod logging;
pub mod membership;
mod memory;
mod metrics;
pub mod node;
mod objects;
mod oom;
mod oom_score;
mod open_files;
mod overview;
mod pod_volumes;
mod pods;
mod probes;
#[allow(dead_code, reason = "who evicts asks with it")]
mod reclaim;
mod runtime;
pub mod server;
pub mod sources;
mod stop;
mod systemd;
mod usage;
mod view;

pub use usage::measure;
