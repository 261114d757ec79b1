//! What a cgroup is told: one record for tiers, pods and reservations, and its two spellings: files of cgroup v2, and
//! properties of a systemd slice.

use std::fmt::Write as _;

use crate::cpu::{CpuMax, DEFAULT_CPU_PERIOD_US, MIN_CPU_SHARES, cpu_weight};
use crate::cpuset;
use crate::hugetlb::{self, HugePages};
use crate::memory::{Kept, Limit};

/// What a cgroup is to hold. What is `None` or empty is left as it is: a new cgroup has no limit and the kernel's
/// default weight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Shares, 2 to 262144; written as `cpu.weight`.
    pub cpu_shares: Option<u64>,
    /// `cpu.max`.
    pub cpu_max: Option<CpuMax>,
    /// `memory.max`.
    pub memory_max: Option<Limit>,
    /// `memory.min` and `memory.low`.
    pub memory_kept: Option<Kept>,
    /// `pids.max`.
    pub pids_max: Option<Limit>,
    /// `hugetlb.SIZE.max`.
    pub huge_pages: HugePages,
    /// `cpuset.cpus`: processors, ascending.
    pub cpus: Option<Vec<u32>>,
}

/// One file of a cgroup and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The file's name.
    pub file: String,
    /// Without a newline.
    pub content: String,
}

/// One property of a unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// systemd's name for it.
    pub name: &'static str,
    /// Its value, of the type that systemd expects.
    pub value: PropertyValue,
}

/// See [`Property`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyValue {
    /// A number of 64 bits.
    Number(u64),
    /// A bit mask, as bytes.
    Mask(Vec<u8>),
}

impl Values {
    /// What is left to a pod whose cgroup cannot be removed yet, because its volumes are still there: the least
    /// processor time (behaviour.md 21.12).
    pub fn reduced() -> Self {
        Self { cpu_shares: Some(MIN_CPU_SHARES), ..Self::default() }
    }

    /// What a new cgroup with these values holds: no limit and nothing kept where they say nothing. For a cgroup that other
    /// settings have made.
    #[must_use]
    pub fn whole(self) -> Self {
        Self {
            cpu_max: self.cpu_max.or(Some(CpuMax { quota_us: None, period_us: DEFAULT_CPU_PERIOD_US })),
            memory_max: self.memory_max.or(Some(Limit::Max)),
            memory_kept: self.memory_kept.or(Some(Kept::default())),
            pids_max: self.pids_max.or(Some(Limit::Max)),
            ..self
        }
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The files, in the order in which they are written. What is kept from reclaim comes before the limit.
    pub fn settings(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        let mut push = |file: &str, content: String| all.push(Setting { file: file.to_owned(), content });
        if let Some(cpus) = &self.cpus {
            push("cpuset.cpus", list(cpus));
        }
        if let Some(shares) = self.cpu_shares {
            push("cpu.weight", cpu_weight(shares).to_string());
        }
        if let Some(max) = self.cpu_max {
            push("cpu.max", max.content());
        }
        if let Some(kept) = self.memory_kept {
            push("memory.min", kept.min_bytes.to_string());
            push("memory.low", kept.low_bytes.to_string());
        }
        if let Some(max) = self.memory_max {
            push("memory.max", max.content());
        }
        if let Some(max) = self.pids_max {
            push("pids.max", max.content());
        }
        for (size, limit) in &self.huge_pages {
            push(&hugetlb::limit_file(*size), limit.to_string());
        }
        all
    }

    /// The properties of a slice. systemd writes what it is told whenever it sees fit, so it has to know each value that
    /// it has a property for; huge pages are written to the files only.
    pub fn properties(&self) -> Vec<Property> {
        let mut all = Vec::new();
        let mut push = |name, value| all.push(Property { name, value });
        if let Some(cpus) = self.cpus.as_ref().filter(|cpus| !cpus.is_empty()) {
            push("AllowedCPUs", PropertyValue::Mask(cpuset::bit_mask(cpus)));
        }
        if let Some(shares) = self.cpu_shares {
            push("CPUWeight", PropertyValue::Number(cpu_weight(shares)));
        }
        if let Some(max) = self.cpu_max {
            push("CPUQuotaPeriodUSec", PropertyValue::Number(max.period_us));
            push("CPUQuotaPerSecUSec", PropertyValue::Number(max.systemd_quota_per_second_us()));
        }
        if let Some(kept) = self.memory_kept {
            push("MemoryMin", PropertyValue::Number(kept.min_bytes));
            push("MemoryLow", PropertyValue::Number(kept.low_bytes));
        }
        if let Some(max) = self.memory_max {
            push("MemoryMax", PropertyValue::Number(max.systemd()));
        }
        if let Some(max) = self.pids_max {
            push("TasksMax", PropertyValue::Number(max.systemd()));
        }
        all
    }
}

/// Processors as the kernel writes them: ranges where there are any.
fn list(cpus: &[u32]) -> String {
    let mut text = String::new();
    let mut rest = cpus;
    while let Some((first, after)) = rest.split_first() {
        let run = after.iter().zip(first + 1..).take_while(|(cpu, next)| **cpu == *next).count();
        if !text.is_empty() {
            text.push(',');
        }
        // Writing to a string cannot fail.
        let _ = match run {
            0 => write!(text, "{first}"),
            _ => write!(text, "{first}-{}", after[run - 1]),
        };
        rest = &after[run..];
    }
    text
}

#[cfg(test)]
mod tests;
