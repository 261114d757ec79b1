//! Pod directories and volumes on the node.
//!
//! `pods/<uid>/` below the root directory belongs to one pod, laid out as a kubelet does, so that either can go on with what the
//! other has made. Volumes are made before the pod's sandbox and are gone before its directories:
//!
//! ```text
//!   pods/<uid>/volumes/kubernetes.io~configmap/<name>     files that are written here    atomic, payload, downward
//!              volumes/kubernetes.io~empty-dir/<name>     disk, tmpfs, hugetlbfs         empty_dir
//!              volumes/kubernetes.io~local-volume/<pv>    bound from the node            set_up
//!              volume-subpaths/<name>/<container>/<n>     parts of volumes               sub_path
//!              containers/  etc-hosts                     of the containers              pod_dirs, hosts
//! ```
//!
//! Whoever asks gives everything that others had to be asked for (objects, tokens, claims): nothing here waits for anybody, and
//! nothing is known here that the disk and the mount table do not show. Teardown follows from these alone: it can be begun again
//! at any time, proves from the kernel's mount table that nothing is mounted below before it deletes, never follows a link and never
//! enters a mount, goes on after each error and reports them all.
#![forbid(unsafe_code)]

#[cfg(test)]
mod alone;
mod atomic;
mod beneath;
pub mod downward;
pub mod empty_dir;
mod host_path;
mod hosts;
mod mounts;
mod ownership;
pub mod payload;
mod pod_dirs;
mod remove;
mod set_up;
mod sub_path;
mod teardown;

pub use empty_dir::Medium;
pub use host_path::HostPathError;
pub use hosts::{Alias, hosts_file, node_hosts_file};
pub use ownership::Ownership;
pub use payload::{File, Payload};
pub use pod_dirs::{PodDirs, PodDirsError};
pub use remove::RemoveError;
pub use set_up::{Content, Files, SetUpError, Setting, Volume};
pub use sub_path::SubPathError;
