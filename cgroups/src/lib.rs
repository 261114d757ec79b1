//! cgroup v2: what the node's cgroups are to hold, and who writes it.
//!
//! ```text
//!   pods, machine, settings                        /sys/fs/cgroup, systemd
//!          |                                                 ^
//!          v                                                 |
//!   names    where a pod is, in either driver's way          | feature `drivers`
//!   pod, tiers, container   what is to be held --> values --> tree: hierarchy (files), systemd (slices)
//!   resize   what is written before and after    removal ---> tree: kill, stop, rmdir, again
//!   orphans  what is nobody's                    accounting, pressure, io <-- tree, sample: what the kernel holds
//! ```
//!
//! What decides is pure and compiles without the drivers. There is one file for each controller: `cpu`, `memory`, `swap`,
//! `pids`, `hugetlb`, `cpuset`.
//!
//! Nothing here has tasks or state of its own but the connection to systemd's bus. What survives a crash is the
//! hierarchy itself: pods' cgroups are found again by their names.
#![forbid(unsafe_code)]

mod accounting;
mod container;
mod cpu;
mod cpuset;
mod hugetlb;
mod io;
mod memory;
mod names;
mod node;
mod orphans;
mod pids;
mod pod;
mod pressure;
mod removal;
mod resize;
mod swap;
mod tiers;
mod values;

#[cfg(feature = "drivers")]
mod hierarchy;
#[cfg(feature = "drivers")]
mod sample;
#[cfg(feature = "drivers")]
mod systemd;
#[cfg(feature = "drivers")]
mod tree;

pub use accounting::{
    CgroupEvents, CpuStat, MemoryEvents, MemoryStat, cgroup_events, cpu_max, cpu_stat, limit, memory_events,
    memory_stat, number, words,
};
pub use container::{ContainerResources, Hierarchy, container_resources};
pub use cpu::{
    CpuMax, DEFAULT_CPU_PERIOD_US, MAX_CPU_SHARES, MIN_CPU_SHARES, cpu_quota_us, cpu_shares,
    cpu_shares_of_weight, cpu_weight, curved_cpu_weight,
};
pub use cpuset::parse_list;
pub use hugetlb::HugePages;
pub use io::{DeviceIo, io_stat};
pub use memory::{Kept, Limit, MemoryQos, Reservation, memory_high};
pub use names::{Cgroup, Driver, Layout, NameError, Tier};
pub use node::{Capacity, Enforced, Enforcement, Policy, Reserved};
pub use orphans::{PodCgroup, orphans, pods_of_tier};
pub use pids::node_capacity as node_pids;
pub use pod::{pod_tier, pod_values};
pub use pressure::{Pressure, Stall, pressure};
pub use removal::{Outcome, Removal, Step, Stuck};
pub use resize::{PodResize, Resource, pod_resize};
pub use swap::{SwapBehavior, swap_limit_bytes};
pub use tiers::{Demand, TierValues, reserved_values, tier_values};
pub use values::{Property, PropertyValue, Setting, Values};

#[cfg(feature = "drivers")]
pub use hierarchy::{CgroupFiles, FileError, Mount, mount_at};
#[cfg(feature = "drivers")]
pub use sample::{CgroupDir, Part, Sample, Sampler};
#[cfg(feature = "drivers")]
pub use systemd::{Systemd, SystemdError};
#[cfg(feature = "drivers")]
pub use tree::{Held, Tree, TreeError};
