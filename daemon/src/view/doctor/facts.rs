//! What is known about the machine. What could not be found out says why, or is not there.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::config::Config;
use crate::overview::Certificate;

/// All facts.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) now: Timestamp,
    /// The daemon's process, where it runs.
    pub(super) daemon: Option<u32>,
    pub(super) is_root: bool,
    pub(super) configuration: Configuration,
    /// As `uname -r` tells it.
    pub(super) kernel: String,
    pub(super) cgroups: Cgroups,
    /// Whether the kernel measures pressure.
    pub(super) pressure: bool,
    /// Whether overlayfs is in the kernel now.
    pub(super) overlay: bool,
    pub(super) seccomp: bool,
    /// `/proc/sys` as far as it is looked at, by the path below it.
    pub(super) sysctls: Vec<(&'static str, Option<u64>)>,
    /// Threads that there are.
    pub(super) threads: Option<u64>,
    /// Devices and files with active swap.
    pub(super) swap: Vec<String>,
    pub(super) clock: Clock,
    pub(super) disks: Vec<Disk>,
    pub(super) ports: Vec<Port>,
    pub(super) host: Host,
    pub(super) root_dir: RootDir,
    pub(super) certificates: Vec<Certificate>,
    pub(super) runtime: Runtime,
    /// Where an API server should be, and why it was not reached.
    pub(super) api_server: Option<(String, Result<(), String>)>,
}

impl Facts {
    pub(super) fn sysctl(&self, path: &str) -> Option<u64> {
        self.sysctls.iter().find(|(known, _)| *known == path).and_then(|(_, value)| *value)
    }
}

/// The daemon's configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Configuration {
    /// Where it comes from, for people.
    pub(super) from: String,
    /// What was read, or the defaults.
    pub(super) config: Config,
    /// Why it cannot be read.
    pub(super) error: Option<String>,
    pub(super) warnings: Vec<String>,
}

/// What is mounted at /sys/fs/cgroup.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroups {
    /// Version 2; or what else, or why it is not known.
    pub(super) is_unified: Option<Result<(), String>>,
    pub(super) controllers: Vec<String>,
}

/// Whether the clock is right.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// As the kernel was told.
    pub(super) is_synchronized: Option<bool>,
    /// A process that keeps clocks right.
    pub(super) service: Option<String>,
}

/// A file system that something of the node lies on.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    /// `nodefs`, `imagefs` or `logs`.
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) space: Result<Space, String>,
}

/// What is left of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Space {
    pub(super) available: u64,
    pub(super) capacity: u64,
    pub(super) inodes_free: u64,
    /// None: it makes them as needed.
    pub(super) inodes: u64,
}

/// A port that the daemon wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Port {
    pub(super) number: u16,
    /// The setting that says so.
    pub(super) setting: &'static str,
    /// Who listens there already.
    pub(super) taken: Option<Owner>,
}

/// A process.
#[derive(Clone, Debug, Default)]
pub(super) struct Owner {
    /// None where it cannot be found out.
    pub(super) process: Option<u32>,
    pub(super) name: String,
}

/// The host's name and time zone.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// The node's name, or why there is none.
    pub(super) node_name: Option<Result<String, String>>,
    /// What it resolves to.
    pub(super) addresses: Option<Result<Vec<String>, String>>,
    pub(super) has_time_zone: bool,
}

/// The daemon's root directory.
#[derive(Clone, Debug, Default)]
pub(super) struct RootDir {
    pub(super) path: PathBuf,
    /// Absent: it is not there yet.
    pub(super) found: Option<Result<Directory, String>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Directory {
    pub(super) owner: u32,
    pub(super) mode: u32,
    pub(super) is_directory: bool,
    pub(super) read_only: bool,
    pub(super) no_exec: bool,
}

/// The container runtime.
#[derive(Clone, Debug, Default)]
pub(super) struct Runtime {
    pub(super) endpoint: String,
    /// What it says, or why it says nothing.
    pub(super) answer: Option<Result<Answer, String>>,
    /// Files in the usual directory of network configurations.
    pub(super) network_configurations: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) version: String,
    /// Why it is not.
    pub(super) not_ready: Option<String>,
    pub(super) network_not_ready: Option<String>,
    /// `systemd` or `cgroupfs`; None where it does not tell.
    pub(super) cgroup_driver: Option<String>,
}
