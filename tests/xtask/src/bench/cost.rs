//! What a process costs: memory and processor time, as the kernel counts them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// Memory of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Its proportional share of all pages that it maps, in KiB.
    pub(crate) pss_kib: u64,
    /// The part of it that no file backs.
    pub(crate) anonymous_kib: u64,
}

/// Reads the memory of process `pid`.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name));
        let value = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
        value.ok_or_else(|| anyhow!("{path} has no {name}"))
    };
    Ok(Memory { pss_kib: field("Pss:")?, anonymous_kib: field("Pss_Anon:")? })
}

/// Processor time and voluntary switches so far, of each thread of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Use(BTreeMap<OsString, Spent>);

/// Processor time and voluntary switches.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) processor: Duration,
    pub(super) switches: u64,
}

/// Reads what process `pid` has used.
pub(super) fn used(pid: u32) -> Result<Use> {
    let mut threads = BTreeMap::new();
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
        let task = task?;
        let read = |name: &str| fs::read_to_string(task.path().join(name));
        let (Ok(schedstat), Ok(status)) = (read("schedstat"), read("status")) else { continue };
        let nanos = schedstat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let voluntary = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        let switches = voluntary.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
        threads.insert(task.file_name(), Spent { processor: Duration::from_nanos(nanos), switches });
    }
    Ok(Use(threads))
}

/// Processor time of process `pid` so far, with that of threads that have ended; in steps of 10 ms.
pub(super) fn processor(pid: u32) -> Result<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name in parentheses may have spaces in it; utime and stime are the twelfth and thirteenth after it.
    let (_, fields) = text.rsplit_once(')').with_context(|| format!("{path} has no name"))?;
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

impl Use {
    /// What was used since `earlier`. What a thread used last that has ended meanwhile is lost; it must not be taken off from what the
    /// others used. Those are the pool's, few and idle.
    pub(super) fn since(&self, earlier: &Self) -> Spent {
        let mut sum = Spent::default();
        for (thread, now) in &self.0 {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            sum.processor += now.processor.saturating_sub(before.processor);
            sum.switches += now.switches.saturating_sub(before.switches);
        }
        sum
    }
}
