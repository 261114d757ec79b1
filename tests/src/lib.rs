//! A cluster in a box: everything that an end-to-end test or `cargo xtask up` needs, in a directory of its own.
//!
//! | module | owns |
//! |---|---|
//! | [`tools`] | containerd, runc, network plugins, kubectl, busybox: found or fetched, each asked for its version |
//! | [`images`] | the images, built here, as archives in the cache |
//! | [`cluster`] | all of it put together: up, down, kubectl, faults, waiting |
//! | [`containerd`] | a containerd with its own root, state, socket and network |
//! | [`registry`] | a registry of images that misbehaves as it is told |
//! | [`node_port`] | a client of a node's port 10250 and of the URLs of its runtime, with WebSockets |
//! | [`prometheus`] | a real Prometheus that scrapes a node, and what dashboards ask it |
//! | [`network`] | the bridge of a cluster and its addresses |
//! | [`supervise`] | programs that are kept running |
//! | [`machine`] | what this machine can and cannot do |
//! | [`terminal`] | a program at a terminal that a test types at |
//! | [`progress`] | what is being done and how long it took |
//! | [`vm`] | real nodes in virtual machines |
//! | [`wait`] | waiting for something, with a deadline |
//! | [`cache`] | the directory for all that outlives a clone |
#![forbid(unsafe_code)]

pub mod cache;
pub mod cluster;
mod command;
pub mod containerd;
pub mod images;
pub mod machine;
pub mod network;
pub mod node_port;
pub mod progress;
pub mod prometheus;
pub mod registry;
pub mod supervise;
pub mod terminal;
pub mod tools;
pub mod vm;
pub mod wait;

pub use cluster::{Cluster, ClusterOptions, scenario};
pub use command::{CommandError, Output};
