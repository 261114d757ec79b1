//! A cgroup's files as figures.

use cgroups::{Limit, Pressure, Sample};
use jiff::Timestamp;

use super::figures::{Cpu, DeviceIo, Group, Io, Memory, Processes, Psi, Stall, Swap, Throttling};
use super::rate::Rates;

const NANOS_PER_MICRO: u64 = 1000;

/// What was read of the cgroup at `path`, now.
pub(super) fn of(path: &str, sample: &Sample, time: Timestamp, rates: &mut Rates) -> Group {
    Group {
        cpu: cpu(path, sample, time, rates),
        memory: memory(sample, time),
        swap: swap(sample, time),
        io: (sample.io.is_some() || sample.io_pressure.is_some()).then(|| io(sample, time)),
        processes: sample.tasks.map(|tasks| Processes {
            time,
            tasks: Some(tasks),
            processes: sample.processes,
            limit: at(sample.tasks_max),
        }),
        shares: sample.cpu_weight.map(cgroups::cpu_shares_of_weight),
        cgroup: Some(path.to_owned()),
    }
}

fn cpu(path: &str, sample: &Sample, time: Timestamp, rates: &mut Rates) -> Option<Cpu> {
    let stat = sample.cpu?;
    let nanos = |micros: u64| micros.saturating_mul(NANOS_PER_MICRO);
    let quota = sample.cpu_max.filter(|max| max.quota_us.is_some());
    Some(Cpu {
        time,
        usage_core_nanos: Some(nanos(stat.usage_us)),
        usage_nano_cores: rates.nano_cores(path, time, nanos(stat.usage_us)),
        user_nanos: Some(nanos(stat.user_us)),
        system_nanos: Some(nanos(stat.system_us)),
        throttling: quota.map(|max| Throttling {
            quota_us: max.quota_us.unwrap_or_default(),
            period_us: max.period_us,
            periods: stat.periods,
            throttled_periods: stat.throttled_periods,
            throttled_nanos: nanos(stat.throttled_us),
        }),
        psi: sample.cpu_pressure.map(psi),
    })
}

fn memory(sample: &Sample, time: Timestamp) -> Option<Memory> {
    let stat = sample.memory.unwrap_or_default();
    let usage = sample.memory_bytes?;
    let working_set = stat.inactive_file.map(|inactive| usage.saturating_sub(inactive));
    let limit = at(sample.memory_max);
    let available = limit.zip(working_set).map(|(limit, used)| limit.saturating_sub(used));
    Some(Memory {
        available,
        usage: Some(usage),
        working_set,
        rss: stat.anon,
        page_faults: stat.page_faults,
        major_page_faults: stat.major_page_faults,
        cache: stat.file,
        active_file: stat.active_file,
        inactive_file: stat.inactive_file,
        mapped_file: stat.file_mapped,
        kernel: stat.kernel,
        peak: sample.memory_peak_bytes,
        limit_hits: sample.memory_events.map(|events| events.max),
        oom_kills: sample.memory_events.map(|events| events.oom_kill),
        limit,
        psi: sample.memory_pressure.map(psi),
        ..Memory::at(time)
    })
}

fn swap(sample: &Sample, time: Timestamp) -> Option<Swap> {
    let usage = sample.swap_bytes?;
    let limit = at(sample.swap_max);
    Some(Swap { time, usage: Some(usage), available: limit.map(|limit| limit.saturating_sub(usage)), limit })
}

fn io(sample: &Sample, time: Timestamp) -> Io {
    let devices = sample.io.as_ref().map(|devices| {
        let device = |io: &cgroups::DeviceIo| DeviceIo {
            major: io.major,
            minor: io.minor,
            read_bytes: io.read_bytes,
            written_bytes: io.written_bytes,
            reads: io.reads,
            writes: io.writes,
        };
        devices.iter().map(device).collect()
    });
    Io { time, devices, psi: sample.io_pressure.map(psi) }
}

fn at(limit: Option<Limit>) -> Option<u64> {
    match limit {
        Some(Limit::At(amount)) => Some(amount),
        _ => None,
    }
}

/// As the kernel says it.
pub(super) fn psi(pressure: Pressure) -> Psi {
    let stall = |stall: cgroups::Stall| Stall {
        total_micros: stall.total_us,
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    };
    Psi { some: stall(pressure.some), full: pressure.full.map(stall) }
}
