//! The node's cgroups: what pods and containers are held to, and the pods' cgroups themselves (behaviour.md 21, 23, 28).
//!
//! | module | owns |
//! |---|---|
//! | `limits` | machine and settings, in the terms of the crate `cgroups` |
//! | `keep` | when they are opened, and that the tiers stay as they are to be |
//! | `pods` | the cgroups of top, tiers and pods while the daemon runs |
//! | `reservations` | the cgroups of `systemReserved` and `kubeReserved` |
//!
//! What a kubelet or an earlier run of the daemon left is found by its name; nothing of this is on disk.

mod keep;
mod limits;
mod pods;
mod reservations;

pub(crate) use keep::{keep, open};
pub use limits::Limits;
pub use pods::{Adopted, Half, PodCgroupError, PodCgroups};
pub use reservations::Told;
