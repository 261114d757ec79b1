//! What is known of the node, its pods and their containers at one time.
//!
//! A figure that nobody knows is `None` and never zero. Each group of figures has the time at which it was read: they come from
//! different places, and some are costly and therefore older.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) time: Timestamp,
    /// Used since the cgroup was made (of the node: since it booted), in nanoseconds.
    pub(crate) usage_core_nanos: Option<u64>,
    /// Used lately, in nanoseconds a second; see [`rate`](super::rate).
    pub(crate) usage_nano_cores: Option<u64>,
    /// Of it outside the kernel, in nanoseconds.
    pub(crate) user_nanos: Option<u64>,
    /// Of it inside, in nanoseconds.
    pub(crate) system_nanos: Option<u64>,
    /// What the quota has done; none without a quota.
    pub(crate) throttling: Option<Throttling>,
    pub(crate) psi: Option<Psi>,
}

/// What a quota of processor time has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttling {
    /// Processor time that may be used in a period.
    pub(crate) quota_us: u64,
    pub(crate) period_us: u64,
    /// In which anything ran.
    pub(crate) periods: u64,
    /// In which the quota was used up.
    pub(crate) throttled_periods: u64,
    /// Time in which something wanted to run and might not.
    pub(crate) throttled_nanos: u64,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) time: Timestamp,
    /// What it may still take: the limit without the working set; none without a limit.
    pub(crate) available: Option<u64>,
    pub(crate) usage: Option<u64>,
    /// Usage without the file pages that nobody used lately.
    pub(crate) working_set: Option<u64>,
    /// Pages of processes that are no file's.
    pub(crate) rss: Option<u64>,
    pub(crate) page_faults: Option<u64>,
    pub(crate) major_page_faults: Option<u64>,
    /// Pages of files.
    pub(crate) cache: Option<u64>,
    /// Pages of files that were used lately. Part of the working set, and the kernel gives them back all the same.
    pub(crate) active_file: Option<u64>,
    pub(crate) inactive_file: Option<u64>,
    pub(crate) mapped_file: Option<u64>,
    /// What the kernel itself holds for it.
    pub(crate) kernel: Option<u64>,
    /// The most that was ever in use.
    pub(crate) peak: Option<u64>,
    /// How often the limit was hit.
    pub(crate) limit_hits: Option<u64>,
    /// Processes that were killed because memory was out.
    pub(crate) oom_kills: Option<u64>,
    /// The limit; none without one.
    pub(crate) limit: Option<u64>,
    pub(crate) psi: Option<Psi>,
}

/// Swap, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swap {
    pub(crate) time: Timestamp,
    pub(crate) usage: Option<u64>,
    /// What may still be taken; none without a limit.
    pub(crate) available: Option<u64>,
    /// The limit; none without one.
    pub(crate) limit: Option<u64>,
}

/// How long processes waited for a resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Psi {
    /// At least one of them.
    pub(crate) some: Stall,
    /// All of them; none where nobody says.
    pub(crate) full: Option<Stall>,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stall {
    /// Since the beginning, in microseconds.
    pub(crate) total_micros: u64,
    /// Share of the last 10 seconds, in percent.
    pub(crate) avg10: f64,
    /// Share of the last minute, in percent.
    pub(crate) avg60: f64,
    /// Share of the last five minutes, in percent.
    pub(crate) avg300: f64,
}

/// Reads and writes of disks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Io {
    pub(crate) time: Timestamp,
    /// By device; none where the controller is not there.
    pub(crate) devices: Option<Vec<DeviceIo>>,
    pub(crate) psi: Option<Psi>,
}

/// Reads and writes of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceIo {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processes {
    pub(crate) time: Timestamp,
    /// Tasks, as the limit of PIDs counts them.
    pub(crate) tasks: Option<u64>,
    /// Processes.
    pub(crate) processes: Option<u64>,
    /// The limit of tasks; none without one.
    pub(crate) limit: Option<u64>,
}

/// What went over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) time: Timestamp,
    /// The name of the interface that stands for the whole; none where there is none such.
    pub(crate) default: Option<String>,
    pub(crate) interfaces: Vec<Interface>,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) rx_bytes: Option<u64>,
    pub(crate) rx_packets: Option<u64>,
    pub(crate) rx_errors: Option<u64>,
    pub(crate) rx_dropped: Option<u64>,
    pub(crate) tx_bytes: Option<u64>,
    pub(crate) tx_packets: Option<u64>,
    pub(crate) tx_errors: Option<u64>,
    pub(crate) tx_dropped: Option<u64>,
}

/// A file system, or what something takes of it. Bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fs {
    pub(crate) time: Timestamp,
    /// For those without special rights.
    pub(crate) available: Option<u64>,
    pub(crate) capacity: Option<u64>,
    /// By what it is about, which may be one of many on the file system.
    pub(crate) used: Option<u64>,
    pub(crate) inodes_free: Option<u64>,
    pub(crate) inodes: Option<u64>,
    pub(crate) inodes_used: Option<u64>,
    /// What was counted is not all there is: it ended at a bound.
    pub(crate) is_partial: bool,
}

/// What a cgroup uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Group {
    pub(crate) cpu: Option<Cpu>,
    pub(crate) memory: Option<Memory>,
    pub(crate) swap: Option<Swap>,
    pub(crate) io: Option<Io>,
    pub(crate) processes: Option<Processes>,
    /// The weight that its processor time has, as shares.
    pub(crate) shares: Option<u64>,
    /// Where it is in the hierarchy; none where the figures are the runtime's.
    pub(crate) cgroup: Option<String>,
}

/// The node as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeUsage {
    /// When it booted.
    pub(crate) start_time: Option<Timestamp>,
    /// Of everything that runs.
    pub(crate) group: Group,
    pub(crate) network: Option<Network>,
    /// Of the root directory.
    pub(crate) fs: Option<Fs>,
    /// What that is on, as the mount names it: a disk's `/dev/...`.
    pub(crate) fs_device: Option<String>,
    /// Of the runtime's images.
    pub(crate) image_fs: Option<Fs>,
    /// Of the runtime's writable layers.
    pub(crate) container_fs: Option<Fs>,
    /// Tasks that there are, and that there may be.
    pub(crate) tasks: Option<Processes>,
    /// `kubelet`, `runtime`, `misc` and `pods`, as far as they are known.
    pub(crate) system: Vec<SystemUsage>,
    /// The QoS tiers' cgroups, by their paths.
    pub(crate) tiers: Vec<Group>,
}

/// A part of the node that is no pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SystemUsage {
    pub(crate) name: &'static str,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) group: Group,
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodUsage {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) start_time: Option<Timestamp>,
    /// Of its cgroup; where it has none, the sum of what is known of its containers.
    pub(crate) group: Group,
    pub(crate) network: Option<Network>,
    /// Writable layers, logs and volumes of the node's own disk together.
    pub(crate) ephemeral_storage: Option<Fs>,
    pub(crate) containers: Vec<ContainerUsage>,
    /// Logs of containers that do not run, by their names.
    pub(crate) ended_logs: BTreeMap<String, Fs>,
    pub(crate) sandbox: Option<SandboxUsage>,
    pub(crate) volumes: Vec<VolumeUsage>,
}

/// The sandbox of a pod, without its containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SandboxUsage {
    /// The runtime's.
    pub(crate) id: String,
    pub(crate) group: Group,
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ContainerUsage {
    pub(crate) name: String,
    /// The runtime's.
    pub(crate) id: String,
    /// As the runtime names it.
    pub(crate) image: String,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) group: Group,
    /// The writable layer.
    pub(crate) rootfs: Option<Fs>,
    /// All its logs, rotated ones included.
    pub(crate) logs: Option<Fs>,
}

/// A volume of a pod that takes room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VolumeUsage {
    /// In the pod's spec.
    pub(crate) name: String,
    pub(crate) kind: VolumeKind,
    pub(crate) fs: Fs,
}

/// Where the room is that a volume takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VolumeKind {
    /// On the node's own disk, and counted as its pod's: emptyDir, config maps, secrets, projected.
    Local,
    /// In memory: an emptyDir of that medium.
    Memory,
    /// A claim's; its name.
    Claim(String),
    /// Elsewhere.
    Other,
}

impl Memory {
    /// Nothing is known at that time.
    pub(crate) fn at(time: Timestamp) -> Self {
        Self { time, ..Self::default() }
    }
}

impl VolumeUsage {
    /// Whether what it takes is the pod's local ephemeral storage (behaviour.md 30).
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.kind == VolumeKind::Local
    }
}

impl Fs {
    /// A part of the same file system that takes so much, in so many inodes.
    pub(crate) fn part(self, time: Timestamp, used: Option<u64>, inodes_used: Option<u64>) -> Self {
        Self { time, used, inodes_used, ..self }
    }
}
