//! What can be computed from a pod alone: quantities, effective requests, QoS class, host ports, the nodes it may be on,
//! hashes and names.
//!
//! Everything here is a pure function of API objects. It is used by the node agent, the API server and the scheduler
//! alike, so that all three mean the same by "what this pod asks for".
#![forbid(unsafe_code)]

mod app_armor;
mod containers;
mod expansion;
mod hash;
mod image;
mod names;
mod node_affinity;
mod ports;
mod qos;
mod quantity;
mod resource_field;
mod resources;
mod summary;
mod sysctl;
mod tolerations;

pub use app_armor::{APP_ARMOR_ANNOTATION, app_armor_profile};
pub use containers::{ContainerKind, containers, ephemeral_as_container, restart_policy};
pub use expansion::expand;
pub use hash::{container_hash, deep_hash32, md5_hex};
pub use image::{ImageNameError, normalized_image};
pub use names::{log_dir_name, long_pod_name, pod_full_name};
pub use node_affinity::{may_be_on_node, node_selector_holds};
pub use ports::{HostPort, conflicts, host_ports};
pub use qos::{
    QosClass, SYSTEM_CRITICAL_PRIORITY, is_critical, is_node_critical, is_static, may_swap, oom_score_adj,
    priority, qos_class,
};
pub use quantity::{Quantity, QuantityError};
pub use resource_field::{ResourceFieldError, resource_field};
pub use resources::{ResourceList, container_limits, container_requests, pod_limits, pod_requests};
pub use summary::{PodSummary, Restarts, human_duration};
pub use sysctl::dotted_sysctl;
pub use tolerations::tolerated;
