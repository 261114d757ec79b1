//! The node's cgroups: what pods and containers are held to, and the pods' cgroups themselves (behaviour.md 21, 23, 28).
//!
//! | module | owns |
//! |---|---|
//! | `limits` | machine and settings, in the terms of the crate `cgroups` |
//! | `pods` | the cgroups of top, tiers and pods while the daemon runs |
//!
//! What a kubelet or an earlier run of the daemon left is found by its name; nothing of this is on disk.

mod limits;
mod pods;

pub use limits::Limits;
pub use pods::{Half, PodCgroupError, PodCgroups};
