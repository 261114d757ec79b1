//! What a process costs: memory and processor time, as the kernel counts them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// Memory of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Its proportional share of all pages that it maps, in KiB.
    pub(super) pss_kib: u64,
    /// The part of it that no file backs.
    pub(super) anonymous_kib: u64,
}

/// Reads the memory of process `pid`.
pub(super) fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name));
        let value = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
        value.ok_or_else(|| anyhow!("{path} has no {name}"))
    };
    Ok(Memory { pss_kib: field("Pss:")?, anonymous_kib: field("Pss_Anon:")? })
}

/// Processor time and voluntary switches of all threads of a process so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) processor: Duration,
    pub(super) switches: u64,
}

/// Reads what process `pid` has used.
pub(super) fn used(pid: u32) -> Result<Use> {
    let mut sum = Use { processor: Duration::ZERO, switches: 0 };
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
        let task = task?.path();
        // A thread that has ended meanwhile no longer counts; the pool's threads are few and idle.
        let (Ok(schedstat), Ok(status)) =
            (fs::read_to_string(task.join("schedstat")), fs::read_to_string(task.join("status")))
        else {
            continue;
        };
        let nanos = schedstat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        sum.processor += Duration::from_nanos(nanos);
        let voluntary = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        sum.switches += voluntary.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

impl Use {
    /// What was used since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(earlier.processor),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}
