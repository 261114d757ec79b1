//! Node pressure: the signals, and the thresholds that the configuration sets for them.
//!
//! Pure. Plans and observers come with the eviction issue; what is here is what the node's allocatable resources and its
//! pressure conditions need.
#![forbid(unsafe_code)]

pub mod dead_containers;
pub mod image_gc;
mod signal;
mod threshold;

pub use signal::Signal;
pub use threshold::{
    Amount, Threshold, ThresholdError, hard_thresholds, parse_pairs, reserved_by_hard_thresholds,
};
