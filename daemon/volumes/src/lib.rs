//! What a pod has on the node's disk: its directories below the root directory, and their removal.
//!
//! Every path is made of names that were checked, below directories that only root can write; the last part is opened
//! without following links, because a container may have put it there. Removal proves by the mount table that nothing is
//! mounted below before it deletes, goes on after each error and reports them all; it can be called again at any time.
//! Volumes of every kind will live here too; none is carried out yet.
#![forbid(unsafe_code)]

mod hosts;
mod pod_dirs;
mod remove;

pub use hosts::{Alias, hosts_file, node_hosts_file};
pub use pod_dirs::{PodDirs, PodDirsError};
pub use remove::RemoveError;
