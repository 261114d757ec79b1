//! A cluster in a box: everything that an end-to-end test or `cargo xtask up` needs, in a directory of its own.
//!
//! | module | owns |
//! |---|---|
//! | [`tools`] | containerd, runc, network plugins, kubectl, busybox: found or fetched, each asked for its version |
//! | [`images`] | the images, built here, as archives in the cache |
//! | [`progress`] | what is being done and how long it took |
//! | [`wait`] | waiting for something, with a deadline |
//! | [`cache`] | the directory for all that outlives a clone |
#![forbid(unsafe_code)]

pub mod cache;
mod command;
pub mod images;
pub mod progress;
pub mod tools;
pub mod wait;

pub use command::{CommandError, Output};
