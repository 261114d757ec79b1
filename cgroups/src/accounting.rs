//! What the kernel says about a cgroup: its files, read.
//!
//! The kernel is believed, but not blindly: a container with its own mount may stand where a cgroup is expected. Every
//! parser takes any bytes, and what it does not know is left out.

use crate::cpu::CpuMax;
use crate::memory::Limit;

/// `cgroup.events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupEvents {
    /// Whether there are processes in or below it.
    pub populated: bool,
    /// Whether it is frozen.
    pub frozen: bool,
}

/// `memory.events`: how often each has happened in and below the cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Reclaimed below `memory.low`.
    pub low: u64,
    /// Throttled above `memory.high`.
    pub high: u64,
    /// About to go above `memory.max`.
    pub max: u64,
    /// No memory could be had.
    pub oom: u64,
    /// Processes killed for it.
    pub oom_kill: u64,
    /// Cgroups killed as a whole for it.
    pub oom_group_kill: u64,
}

/// `cpu.stat`; all times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// Processor time in all.
    pub usage_us: u64,
    /// Of it outside the kernel.
    pub user_us: u64,
    /// Of it inside.
    pub system_us: u64,
    /// Periods of the quota in which anything ran.
    pub periods: u64,
    /// Of these how many used the quota up.
    pub throttled_periods: u64,
    /// Time in which it wanted to run and might not.
    pub throttled_us: u64,
}

/// The lines `key number` of a file; others are left out.
fn flat_keyed(bytes: &[u8]) -> impl Iterator<Item = (&str, u64)> {
    bytes.split(|b| *b == b'\n').filter_map(|line| {
        let (key, value) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
        Some((key, value.parse().ok()?))
    })
}

/// Reads `cgroup.events`; what is not said is not so.
pub fn cgroup_events(bytes: &[u8]) -> CgroupEvents {
    let mut events = CgroupEvents::default();
    for (key, value) in flat_keyed(bytes) {
        match key {
            "populated" => events.populated = value != 0,
            "frozen" => events.frozen = value != 0,
            _ => {}
        }
    }
    events
}

/// Reads `memory.events` or `memory.events.local`.
pub fn memory_events(bytes: &[u8]) -> MemoryEvents {
    let mut events = MemoryEvents::default();
    for (key, value) in flat_keyed(bytes) {
        match key {
            "low" => events.low = value,
            "high" => events.high = value,
            "max" => events.max = value,
            "oom" => events.oom = value,
            "oom_kill" => events.oom_kill = value,
            "oom_group_kill" => events.oom_group_kill = value,
            _ => {}
        }
    }
    events
}

/// Reads `cpu.stat`; without a quota the kernel leaves its counters out.
pub fn cpu_stat(bytes: &[u8]) -> CpuStat {
    let mut stat = CpuStat::default();
    for (key, value) in flat_keyed(bytes) {
        match key {
            "usage_usec" => stat.usage_us = value,
            "user_usec" => stat.user_us = value,
            "system_usec" => stat.system_us = value,
            "nr_periods" => stat.periods = value,
            "nr_throttled" => stat.throttled_periods = value,
            "throttled_usec" => stat.throttled_us = value,
            _ => {}
        }
    }
    stat
}

/// `memory.stat`, in and below the cgroup; bytes but for the faults. What the kernel does not say is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// Pages that are no file's.
    pub anon: Option<u64>,
    /// Pages of files.
    pub file: Option<u64>,
    /// What the kernel holds for it.
    pub kernel: Option<u64>,
    /// Pages of files that are mapped.
    pub file_mapped: Option<u64>,
    /// Pages of files that were used lately.
    pub active_file: Option<u64>,
    /// Pages of files that were not used lately.
    pub inactive_file: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Of these, for which a disk was read.
    pub major_page_faults: Option<u64>,
}

/// Reads `memory.stat`.
pub fn memory_stat(bytes: &[u8]) -> MemoryStat {
    let mut stat = MemoryStat::default();
    for line in bytes.split(|b| *b == b'\n') {
        // Some fifty lines for each container at each question: most are turned away by their keys alone.
        let Some(space) = line.iter().position(|b| *b == b' ') else { continue };
        let figure = match &line[..space] {
            b"anon" => &mut stat.anon,
            b"file" => &mut stat.file,
            b"kernel" => &mut stat.kernel,
            b"file_mapped" => &mut stat.file_mapped,
            b"active_file" => &mut stat.active_file,
            b"inactive_file" => &mut stat.inactive_file,
            b"pgfault" => &mut stat.page_faults,
            b"pgmajfault" => &mut stat.major_page_faults,
            _ => continue,
        };
        *figure = number(&line[space..]);
    }
    stat
}

/// Reads a file of one number, such as `memory.current` and `pids.current`.
pub fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// Reads a file of one number or `max`.
pub fn limit(bytes: &[u8]) -> Option<Limit> {
    match std::str::from_utf8(bytes).ok()?.trim() {
        "max" => Some(Limit::Max),
        text => text.parse().ok().map(Limit::At),
    }
}

/// Reads `cpu.max`.
pub fn cpu_max(bytes: &[u8]) -> Option<CpuMax> {
    let (quota, period) = std::str::from_utf8(bytes).ok()?.trim().split_once(' ')?;
    let quota_us = if quota == "max" { None } else { Some(quota.parse().ok()?) };
    Some(CpuMax { quota_us, period_us: period.parse().ok()? })
}

/// How many lines a file has, such as processes in `cgroup.procs`.
#[cfg(feature = "drivers")]
pub(crate) fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// Reads a list of words, such as `cgroup.controllers`.
pub fn words(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(
            cgroup_events(b"populated 1\nfrozen 0\n"),
            CgroupEvents { populated: true, frozen: false }
        );
        let events =
            memory_events(b"low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\nsock_throttled 7\n");
        assert_eq!(events, MemoryEvents { low: 1, high: 2, max: 3, oom: 4, oom_kill: 5, oom_group_kill: 6 });
        let stat = cpu_stat(
            b"usage_usec 950000\nuser_usec 900000\nsystem_usec 50000\nnice_usec 0\nnr_periods 31\nnr_throttled 30\n\
              throttled_usec 77\nnr_bursts 0\n",
        );
        assert_eq!((stat.usage_us, stat.user_us, stat.system_us), (950_000, 900_000, 50_000));
        assert_eq!((stat.periods, stat.throttled_periods, stat.throttled_us), (31, 30, 77));
        assert_eq!(number(b"4096\n"), Some(4096));
        assert_eq!(
            (limit(b"max\n"), limit(b"500\n"), limit(b"x")),
            (Some(Limit::Max), Some(Limit::At(500)), None)
        );
        assert_eq!(cpu_max(b"30000 100000\n").unwrap().content(), "30000 100000");
        assert_eq!(cpu_max(b"max 100000\n").unwrap().quota_us, None);
        assert_eq!(words(b"cpuset cpu io\n"), ["cpuset", "cpu", "io"]);
    }

    #[test]
    fn what_memory_stat_does_not_say_is_unknown() {
        let stat = memory_stat(
            b"anon 1000\nfile 200\nkernel 30\nkernel_stack 7\nfile_mapped 40\ninactive_anon 9\nactive_file 50\n\
              inactive_file 60\npgfault 70\npgmajfault 80\n",
        );
        assert_eq!((stat.anon, stat.file, stat.kernel), (Some(1000), Some(200), Some(30)));
        assert_eq!((stat.file_mapped, stat.active_file, stat.inactive_file), (Some(40), Some(50), Some(60)));
        assert_eq!((stat.page_faults, stat.major_page_faults), (Some(70), Some(80)));
        assert_eq!(memory_stat(b"anon x\nfile\n"), MemoryStat::default());
    }

    #[test]
    fn a_line_that_is_cut_off_costs_that_line_only() {
        assert_eq!(memory_events(b"oom_kill 3\nlow \nhigh x\nmax -1\noom").oom_kill, 3);
        assert_eq!(cgroup_events(b""), CgroupEvents::default());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ =
                (cgroup_events(bytes), memory_events(bytes), cpu_stat(bytes), number(bytes), limit(bytes));
            let _ = (words(bytes), memory_stat(bytes));
            if let Some(max) = cpu_max(bytes) {
                assert_eq!(cpu_max(max.content().as_bytes()), Some(max));
                let _ = max.systemd_quota_per_second_us();
            }
        });
    }
}
