//! This machine as a `Node` object: registration, status, lease, and what others need to know about the object.
//!
//! ```text
//! info ─────────┐                        ┌─> PATCH nodes/status   (only on change, or each 5 minutes)
//! runtime watch ┼─> status (pure) ─> writer
//! images, disks ┘                        └─> events NodeReady, NodeHasDiskPressure, ...
//! registration: POST nodes once ──> view: watch of the own object ──> watch::Receiver<Option<Arc<NodeView>>>
//! lease: PUT leases/<node> each quarter of its duration, on the same dedicated client
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `info` | facts about the machine, read from /proc, /sys and /etc |
//! | `name`, `addresses` | what the node is called and where it is reached |
//! | `capacity` | capacity and allocatable |
//! | `pressure` | measurements against the hard eviction thresholds |
//! | `features` | what the node declares to carry out |
//! | `facts` | all that decides which pods the node takes, for the node machine |
//! | `status` | the status object from all of these; pure |
//! | `registration`, `writer`, `lease`, `view`, `images` | the calls |
//! | `pod_cidr` | the runtime's word of which addresses pods may have |
//!
//! Nothing is kept over a restart: the API has the object, the machine has the facts.

pub mod addresses;
pub mod capacity;
pub(crate) mod facts;
mod features;
pub mod images;
pub mod info;
pub mod lease;
pub mod name;
pub(crate) mod pod_cidr;
pub mod pressure;
mod registration;
pub(crate) mod shutdown;
mod status;
mod view;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeAddress, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::time::Instant;

/// What is needed of the own `Node` object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeView {
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub pod_cidrs: Vec<String>,
    pub addresses: Vec<NodeAddress>,
    pub allocatable: BTreeMap<String, Quantity>,
    /// Somebody deletes the object: nothing new is to be made that it owns.
    pub deleting: bool,
}

/// A handler of the runtime, as it is shown in `status.runtimeHandlers`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeHandler {
    pub name: String,
    pub recursive_read_only_mounts: bool,
    pub user_namespaces: bool,
}

/// What the container runtime says about itself; filled by whoever talks to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeState {
    /// As in `containerd://2.1.0`.
    pub name: String,
    pub version: String,
    /// RuntimeReady, or why not.
    pub ready: Result<(), String>,
    /// NetworkReady, or why not.
    pub network: Result<(), String>,
    pub handlers: Vec<RuntimeHandler>,
    pub supplemental_groups_policy: bool,
    /// When it last answered that it is ready; the node is not ready when that is 30 s ago.
    pub last_ok: Option<Instant>,
    /// When it last answered at all, ready or not.
    pub answered: Option<Instant>,
    /// Counts up when images came or went, so that the list is read anew.
    pub images_generation: u64,
    /// Where it keeps images (ImageFsInfo), so that their file system is measured too.
    pub image_filesystem: Option<PathBuf>,
}

impl RuntimeState {
    /// Whether anything was heard of the runtime, be it that it cannot be reached.
    pub(crate) fn has_answered(&self) -> bool {
        *self != Self::default()
    }
}

impl Default for RuntimeState {
    /// Before the runtime has answered once.
    fn default() -> Self {
        let unknown = || Err("the container runtime has not answered yet".to_owned());
        Self {
            name: String::new(),
            version: String::new(),
            ready: unknown(),
            network: unknown(),
            handlers: Vec::new(),
            supplemental_groups_policy: false,
            last_ok: None,
            answered: None,
            images_generation: 0,
            image_filesystem: None,
        }
    }
}

pub(crate) use status::own_conditions;
pub use writer::{NodeAgent, Settings};

/// What others read of the own node: `None` until the API has shown it once.
pub type NodeReceiver = tokio::sync::watch::Receiver<Option<Arc<NodeView>>>;
