//! Memory that can be had (behaviour.md 29.8).
//!
//! A kubelet counts file pages that were used lately as used. The kernel gives them back as well before anybody has to die, so here they
//! do not count: of the node that is what the kernel itself calls available, of a cgroup its usage less all file pages.

use std::path::Path;

use super::{ReadError, content, read};
use crate::observation::Left;

/// What the whole node has left: `MemAvailable` of `/proc/meminfo`.
///
/// # Errors
/// The file cannot be read or lacks a line.
pub fn node(meminfo: &Path) -> Result<Left, ReadError> {
    let text = read(meminfo)?;
    let bytes = |name| kibibytes(&text, name).and_then(|kibibytes| kibibytes.checked_mul(1024));
    let capacity = bytes("MemTotal:").ok_or_else(|| content(meminfo, "MemTotal"))?;
    let available = bytes("MemAvailable:").ok_or_else(|| content(meminfo, "MemAvailable"))?;
    Ok(Left { available: available.min(capacity), capacity })
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What a cgroup has left of its own limit; `None` where it has none.
///
/// # Errors
/// A file cannot be read or does not hold what it should.
pub fn cgroup(directory: &Path) -> Result<Option<Left>, ReadError> {
    let max = directory.join("memory.max");
    let limit = read(&max)?;
    if limit.trim() == "max" {
        return Ok(None);
    }
    let capacity = limit.trim().parse().map_err(|_| content(&max, "number"))?;
    let current = directory.join("memory.current");
    let usage: u64 = read(&current)?.trim().parse().map_err(|_| content(&current, "number"))?;
    let used = usage.saturating_sub(reclaimable(&read(&directory.join("memory.stat"))?));
    Ok(Some(Left { available: u64::saturating_sub(capacity, used), capacity }))
}

/// Bytes of file pages in a `memory.stat`; none where it does not say.
fn reclaimable(stat: &str) -> u64 {
    let value = |name: &str| {
        stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
    };
    value("inactive_file").unwrap_or(0).saturating_add(value("active_file").unwrap_or(0))
}

#[cfg(test)]
mod tests;
