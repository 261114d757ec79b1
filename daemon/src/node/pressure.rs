//! Memory, disk and PID pressure, measured against the hard eviction thresholds. behaviour.md 29.7, 29.8.
//!
//! Nothing is evicted here; the conditions only say truthfully whether a threshold is crossed. A measurement that fails
//! leaves the condition as it was. A condition that was true stays so for `evictionPressureTransitionPeriod`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podspec::Quantity;
use tokio::time::Instant;

use super::info::read_memory;
use crate::config::Config;

/// Which pressures there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressures {
    pub memory: bool,
    pub disk: bool,
    pub pid: bool,
}

/// What is left of something, and how much there is of it in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) available: u64,
    pub(super) capacity: u64,
}

/// Measures, and remembers when each pressure was seen last.
#[derive(Debug)]
pub struct Observer {
    thresholds: BTreeMap<String, String>,
    hold: Duration,
    root_dir: PathBuf,
    memory_seen: Option<Instant>,
    disk_seen: Option<Instant>,
    pid_seen: Option<Instant>,
}

impl Observer {
    #[must_use]
    pub fn new(config: &Config, root_dir: &Path) -> Self {
        Self {
            thresholds: config.eviction_hard.clone(),
            hold: config.eviction_pressure_transition_period.to_std(),
            root_dir: root_dir.to_path_buf(),
            memory_seen: None,
            disk_seen: None,
            pid_seen: None,
        }
    }

    /// Measures now. `image_filesystem` is where the runtime keeps images, when it has told.
    pub fn observe(&mut self, image_filesystem: Option<&Path>, now: Instant) -> Pressures {
        let mut signals = BTreeMap::new();
        match read_memory(Path::new("/proc/meminfo")) {
            Ok(memory) => {
                signals.insert(
                    "memory.available",
                    Left { available: memory.available_bytes, capacity: memory.total_bytes },
                );
            }
            Err(error) => tracing::warn!(%error, "memory cannot be measured"),
        }
        if let Some(pids) = pids() {
            signals.insert("pid.available", pids);
        }
        for (path, bytes, inodes) in [
            (Some(self.root_dir.as_path()), "nodefs.available", "nodefs.inodesFree"),
            (image_filesystem, "imagefs.available", "imagefs.inodesFree"),
        ] {
            match path.map(filesystem) {
                None => {}
                Some(Ok((left, inodes_left))) => {
                    signals.insert(bytes, left);
                    // A file system that makes inodes as needed shows none.
                    if inodes_left.capacity > 0 {
                        signals.insert(inodes, inodes_left);
                    }
                }
                Some(Err(error)) => tracing::warn!(%error, "a file system cannot be measured"),
            }
        }
        self.judge(&signals, now)
    }

    fn judge(&mut self, signals: &BTreeMap<&'static str, Left>, now: Instant) -> Pressures {
        let crossed = |signal: &str| {
            let (Some(threshold), Some(left)) = (self.thresholds.get(signal), signals.get(signal)) else {
                return false;
            };
            left.available < threshold_bytes(threshold, left.capacity)
        };
        let memory = crossed("memory.available");
        let pid = crossed("pid.available");
        let disk = ["nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree"]
            .into_iter()
            .any(crossed);
        let held = |seen: &mut Option<Instant>, crossed: bool| {
            if crossed {
                *seen = Some(now);
            }
            seen.is_some_and(|seen| crossed || now.duration_since(seen) < self.hold)
        };
        Pressures {
            memory: held(&mut self.memory_seen, memory),
            disk: held(&mut self.disk_seen, disk),
            pid: held(&mut self.pid_seen, pid),
        }
    }
}

/// A threshold of `10%` or `100Mi` as an amount. A percentage is a 32-bit float times the capacity, cut off, as the kubelet
/// computes it; `0%` and `100%` turn the signal off.
pub(crate) fn threshold_bytes(threshold: &str, capacity: u64) -> u64 {
    match threshold.strip_suffix('%') {
        Some(percentage) => {
            let fraction = percentage.parse::<f32>().unwrap_or(0.0) / 100.0;
            if fraction <= 0.0 || fraction >= 1.0 {
                0
            } else {
                (capacity as f64 * f64::from(fraction)) as u64
            }
        }
        None => threshold.parse::<Quantity>().map_or(0, |amount| u64::try_from(amount.value()).unwrap_or(0)),
    }
}

/// Bytes and inodes of the file system that holds `path`.
pub(super) fn filesystem(path: &Path) -> Result<(Left, Left), String> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let block = stat.fragment_size();
    let bytes = Left { available: stat.blocks_available() * block, capacity: stat.blocks() * block };
    Ok((bytes, Left { available: stat.files_available(), capacity: stat.files() }))
}

/// The size of the file system that holds `path`.
///
/// # Errors
/// The path cannot be looked at.
pub fn filesystem_bytes(path: &Path) -> Result<u64, String> {
    filesystem(path).map(|(bytes, _)| bytes.capacity)
}

/// Tasks that may still be made: /proc/loadavg counts the threads, and the kernel has a limit for all.
fn pids() -> Option<Left> {
    let most: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let threads: u64 = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Left { available: most.saturating_sub(threads), capacity: most })
}

#[cfg(test)]
mod tests;
