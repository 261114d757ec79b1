//! Facts about the machine that do not change while the daemon runs (behaviour.md 32.8, 23.6), read below a given root.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::cpu_set_size;

/// See the module's page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub swap_bytes: u64,
    /// Page size in bytes to all pages of that size, in bytes.
    pub huge_pages: BTreeMap<u64, u64>,
}

/// A file that must be there cannot be read or understood.
#[derive(Debug, thiserror::Error)]
pub enum MachineInfoError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {message}", path.display())]
    Content { path: PathBuf, message: String },
}

impl Machine {
    /// Reads this machine.
    ///
    /// # Errors
    /// /proc or /sys is not as Linux has it.
    pub fn read() -> Result<Self, MachineInfoError> {
        Self::read_below(Path::new("/"))
    }

    pub(crate) fn read_below(root: &Path) -> Result<Self, MachineInfoError> {
        let online = root.join("sys/devices/system/cpu/online");
        let list = read(&online)?;
        let cpus = cpu_set_size(list.trim()).ok_or_else(|| MachineInfoError::Content {
            path: online,
            message: format!("{:?} is no list of CPUs", list.trim()),
        })?;
        let memory = read_memory(&root.join("proc/meminfo"))?;
        let first = |paths: &[&str]| {
            let texts = paths.iter().filter_map(|path| fs::read_to_string(root.join(path)).ok());
            texts
                .map(|text| text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
                .find(|text| !text.is_empty())
        };
        let machine_id = first(&["etc/machine-id", "var/lib/dbus/machine-id"]).unwrap_or_default();
        Ok(Self {
            system_uuid: first(&[
                "sys/class/dmi/id/product_uuid",
                "proc/device-tree/vm,uuid",
                "etc/machine-id",
            ])
            .unwrap_or_default(),
            machine_id,
            boot_id: first(&["proc/sys/kernel/random/boot_id"]).unwrap_or_default(),
            kernel_version: read(&root.join("proc/sys/kernel/osrelease"))?.trim().to_owned(),
            os_image: first(&["etc/os-release", "usr/lib/os-release"])
                .map(|text| pretty_name(&text))
                .unwrap_or_default(),
            cpus,
            memory_bytes: memory.total_bytes,
            swap_bytes: memory.swap_bytes,
            huge_pages: huge_pages(&root.join("sys/kernel/mm/hugepages")),
        })
    }
}

/// What /proc/meminfo says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) total_bytes: u64,
    pub(super) swap_bytes: u64,
    /// Capacity without the working set: what is free, and file pages that nobody used lately. behaviour.md 29.8.
    pub(super) available_bytes: u64,
}

pub(super) fn read_memory(path: &Path) -> Result<Memory, MachineInfoError> {
    let text = read(path)?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes.saturating_mul(1024)).ok_or_else(|| MachineInfoError::Content {
            path: path.to_path_buf(),
            message: format!("has no {name}"),
        })
    };
    let total_bytes = value("MemTotal")?;
    Ok(Memory {
        total_bytes,
        swap_bytes: value("SwapTotal").unwrap_or(0),
        available_bytes: (value("MemFree")? + value("Inactive(file)")?).min(total_bytes),
    })
}

fn read(path: &Path) -> Result<String, MachineInfoError> {
    fs::read_to_string(path).map_err(|source| MachineInfoError::Read { path: path.to_path_buf(), source })
}

fn pretty_name(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches(['"', '\'']).to_owned()
}

/// Sizes that the kernel knows, with what is set aside of each; none when the kernel has no huge pages.
fn huge_pages(directory: &Path) -> BTreeMap<u64, u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let kilobytes: u64 =
                name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count: u64 =
                fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
            let size = kilobytes.checked_mul(1024)?;
            Some((size, size.checked_mul(count)?))
        })
        .collect()
}

/// Whether the kernel enforces AppArmor profiles. Asked once: it takes a reboot to change that.
pub(super) fn apparmor_is_enabled() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    Path::new("/sys/kernel/security/apparmor").exists() && enabled.is_ok_and(|text| text.starts_with('Y'))
}

#[cfg(test)]
mod tests;
