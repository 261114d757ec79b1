//! The names, and which figures stand under them.

use jiff::Timestamp;

use super::super::figures::{Cpu, DeviceIo, Fs, Interface, Memory, Psi, Throttling};
use super::super::series::{Kind, Number, Text, labels};
use super::{Devices, Row};

/// One name.
pub(super) struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    figure: Figure,
}

/// Where its samples come from.
enum Figure {
    Cpu(fn(&Cpu) -> Option<Number>),
    /// With the label `cpu="total"`, as upstream has it beside those of single processors.
    CpuTotal,
    Throttling(fn(&Throttling) -> Number),
    /// Where there are limits that are known: 0 is none.
    Spec(fn(&Row<'_>) -> Option<u64>),
    Memory(fn(&Memory) -> Option<u64>),
    /// `failure_type` and `scope`.
    Faults,
    Swap,
    Disk(fn(&DeviceIo) -> u64),
    /// With `major`, `minor` and `operation`.
    BlockDevices,
    /// Of the node's root directory: a container's writable layer is not among these upstream either.
    RootFs(fn(&Fs) -> Option<u64>),
    Network(fn(&Interface) -> Option<u64>),
    Processes,
    Threads,
    ThreadsMax,
    CpuPsi(fn(&Psi) -> Option<u64>),
    MemoryPsi(fn(&Psi) -> Option<u64>),
    IoPsi(fn(&Psi) -> Option<u64>),
    StartTime,
    LastSeen,
}

const fn family(name: &'static str, kind: Kind, help: &'static str, figure: Figure) -> Family {
    Family { name, kind, help, figure }
}

use Figure as F;
use Kind::{Counter, Gauge};

pub(super) static FAMILIES: &[Family] = &[
    family(
        "container_blkio_device_usage_total",
        Counter,
        "Bytes that were read from and written to a disk.",
        F::BlockDevices,
    ),
    family(
        "container_cpu_cfs_periods_total",
        Counter,
        "Periods of the quota in which anything ran.",
        F::Throttling(|t| Number::Whole(t.periods)),
    ),
    family(
        "container_cpu_cfs_throttled_periods_total",
        Counter,
        "Periods in which the quota was used up.",
        F::Throttling(|t| Number::Whole(t.throttled_periods)),
    ),
    family(
        "container_cpu_cfs_throttled_seconds_total",
        Counter,
        "Time in which something might not run because the quota was used up, in seconds.",
        F::Throttling(|t| Number::Nanos(t.throttled_nanos)),
    ),
    family(
        "container_cpu_system_seconds_total",
        Counter,
        "Processor time in the kernel, in seconds.",
        F::Cpu(|cpu| cpu.system_nanos.map(Number::Nanos)),
    ),
    family("container_cpu_usage_seconds_total", Counter, "Processor time, in seconds.", F::CpuTotal),
    family(
        "container_cpu_user_seconds_total",
        Counter,
        "Processor time outside the kernel, in seconds.",
        F::Cpu(|cpu| cpu.user_nanos.map(Number::Nanos)),
    ),
    family("container_fs_inodes_free", Gauge, "Inodes that are free.", F::RootFs(|fs| fs.inodes_free)),
    family("container_fs_inodes_total", Gauge, "Inodes in all.", F::RootFs(|fs| fs.inodes)),
    family(
        "container_fs_limit_bytes",
        Gauge,
        "Bytes of the file system in all.",
        F::RootFs(|fs| fs.capacity),
    ),
    family(
        "container_fs_reads_bytes_total",
        Counter,
        "Bytes that were read from a disk.",
        F::Disk(|io| io.read_bytes),
    ),
    family("container_fs_reads_total", Counter, "Reads from a disk.", F::Disk(|io| io.reads)),
    family("container_fs_usage_bytes", Gauge, "Bytes of the file system in use.", F::RootFs(|fs| fs.used)),
    family(
        "container_fs_writes_bytes_total",
        Counter,
        "Bytes that were written to a disk.",
        F::Disk(|io| io.written_bytes),
    ),
    family("container_fs_writes_total", Counter, "Writes to a disk.", F::Disk(|io| io.writes)),
    family("container_last_seen", Gauge, "When it was looked at last, in seconds since 1970.", F::LastSeen),
    family("container_memory_cache", Gauge, "Pages of files, in bytes.", F::Memory(|m| m.cache)),
    family(
        "container_memory_failcnt",
        Counter,
        "How often the memory limit was hit.",
        F::Memory(|m| m.limit_hits),
    ),
    family("container_memory_failures_total", Counter, "Page faults.", F::Faults),
    family(
        "container_memory_kernel_usage",
        Gauge,
        "What the kernel holds for it, in bytes.",
        F::Memory(|m| m.kernel),
    ),
    family(
        "container_memory_mapped_file",
        Gauge,
        "Pages of files that are mapped, in bytes.",
        F::Memory(|m| m.mapped_file),
    ),
    family(
        "container_memory_max_usage_bytes",
        Gauge,
        "The most memory that was ever in use, in bytes.",
        F::Memory(|m| m.peak),
    ),
    family("container_memory_rss", Gauge, "Pages that are no file's, in bytes.", F::Memory(|m| m.rss)),
    family("container_memory_swap", Gauge, "Swap in use, in bytes.", F::Swap),
    family(
        "container_memory_total_active_file_bytes",
        Gauge,
        "Pages of files that were used lately, in bytes.",
        F::Memory(|m| m.active_file),
    ),
    family(
        "container_memory_total_inactive_file_bytes",
        Gauge,
        "Pages of files that were not used lately, in bytes.",
        F::Memory(|m| m.inactive_file),
    ),
    family("container_memory_usage_bytes", Gauge, "Memory in use, in bytes.", F::Memory(|m| m.usage)),
    family(
        "container_memory_working_set_bytes",
        Gauge,
        "Memory in use without pages of files that were not used lately, in bytes.",
        F::Memory(|m| m.working_set),
    ),
    family(
        "container_network_receive_bytes_total",
        Counter,
        "Bytes that came in.",
        F::Network(|i| i.rx_bytes),
    ),
    family(
        "container_network_receive_errors_total",
        Counter,
        "Errors of what came in.",
        F::Network(|i| i.rx_errors),
    ),
    family(
        "container_network_receive_packets_dropped_total",
        Counter,
        "Packets that came in and were dropped.",
        F::Network(|i| i.rx_dropped),
    ),
    family(
        "container_network_receive_packets_total",
        Counter,
        "Packets that came in.",
        F::Network(|i| i.rx_packets),
    ),
    family(
        "container_network_transmit_bytes_total",
        Counter,
        "Bytes that went out.",
        F::Network(|i| i.tx_bytes),
    ),
    family(
        "container_network_transmit_errors_total",
        Counter,
        "Errors of what went out.",
        F::Network(|i| i.tx_errors),
    ),
    family(
        "container_network_transmit_packets_dropped_total",
        Counter,
        "Packets that were to go out and were dropped.",
        F::Network(|i| i.tx_dropped),
    ),
    family(
        "container_network_transmit_packets_total",
        Counter,
        "Packets that went out.",
        F::Network(|i| i.tx_packets),
    ),
    family(
        "container_oom_events_total",
        Counter,
        "Processes that were killed because memory was out.",
        F::Memory(|m| m.oom_kills),
    ),
    family(
        "container_pressure_cpu_stalled_seconds_total",
        Counter,
        "Time in which all processes waited for a processor, in seconds.",
        F::CpuPsi(|psi| psi.full.map(|stall| stall.total_micros)),
    ),
    family(
        "container_pressure_cpu_waiting_seconds_total",
        Counter,
        "Time in which processes waited for a processor, in seconds.",
        F::CpuPsi(|psi| Some(psi.some.total_micros)),
    ),
    family(
        "container_pressure_io_stalled_seconds_total",
        Counter,
        "Time in which all processes waited for a disk, in seconds.",
        F::IoPsi(|psi| psi.full.map(|stall| stall.total_micros)),
    ),
    family(
        "container_pressure_io_waiting_seconds_total",
        Counter,
        "Time in which processes waited for a disk, in seconds.",
        F::IoPsi(|psi| Some(psi.some.total_micros)),
    ),
    family(
        "container_pressure_memory_stalled_seconds_total",
        Counter,
        "Time in which all processes waited for memory, in seconds.",
        F::MemoryPsi(|psi| psi.full.map(|stall| stall.total_micros)),
    ),
    family(
        "container_pressure_memory_waiting_seconds_total",
        Counter,
        "Time in which processes waited for memory, in seconds.",
        F::MemoryPsi(|psi| Some(psi.some.total_micros)),
    ),
    family("container_processes", Gauge, "Processes.", F::Processes),
    family(
        "container_spec_cpu_period",
        Gauge,
        "Period of the quota of processor time, in microseconds.",
        F::Spec(|row| Some(row.group.cpu?.throttling?.period_us)),
    ),
    family(
        "container_spec_cpu_quota",
        Gauge,
        "Processor time that may be used in a period, in microseconds.",
        F::Spec(|row| Some(row.group.cpu?.throttling?.quota_us)),
    ),
    family(
        "container_spec_cpu_shares",
        Gauge,
        "Weight of its processor time.",
        F::Spec(|row| row.group.shares),
    ),
    family(
        "container_spec_memory_limit_bytes",
        Gauge,
        "Memory that may be used, in bytes; 0 where nothing limits it.",
        F::Spec(|row| row.group.memory.map(|memory| memory.limit.unwrap_or(0))),
    ),
    family(
        "container_spec_memory_swap_limit_bytes",
        Gauge,
        "Swap that may be used, in bytes; 0 where nothing limits it.",
        F::Spec(|row| row.group.swap.map(|swap| swap.limit.unwrap_or(0))),
    ),
    family(
        "container_start_time_seconds",
        Gauge,
        "When it has started, in seconds since 1970.",
        F::StartTime,
    ),
    family("container_threads", Gauge, "Threads.", F::Threads),
    family(
        "container_threads_max",
        Gauge,
        "Threads that there may be; 0 where nothing limits them.",
        F::ThreadsMax,
    ),
];

/// Writes the samples of one name.
pub(super) struct Emit<'a> {
    family: &'static Family,
    text: &'a mut Text,
    devices: &'a Devices,
    has_begun: bool,
    /// Labels of single samples are made here.
    more: String,
}

impl<'a> Emit<'a> {
    pub(super) fn new(family: &'static Family, text: &'a mut Text, devices: &'a Devices) -> Self {
        Self { family, text, devices, has_begun: false, more: String::new() }
    }

    fn sample(&mut self, labels: &str, value: Number, time: Timestamp) {
        if !self.has_begun {
            self.has_begun = true;
            self.text.family(self.family.name, self.family.kind, self.family.help);
        }
        self.text.sample(self.family.name, labels, &self.more, value, Some(time));
    }

    /// All samples of one row.
    pub(super) fn row(&mut self, row: Row<'_>, labels: &str) {
        self.more.clear();
        let group = row.group;
        match &self.family.figure {
            F::Cpu(figure) => {
                if let Some(cpu) = &group.cpu
                    && let Some(value) = figure(cpu)
                {
                    self.sample(labels, value, cpu.time);
                }
            }
            F::CpuTotal => {
                if let Some(cpu) = &group.cpu
                    && let Some(nanos) = cpu.usage_core_nanos
                {
                    self.more.push_str("cpu=\"total\"");
                    self.sample(labels, Number::Nanos(nanos), cpu.time);
                }
            }
            F::Throttling(figure) => {
                if let Some(cpu) = &group.cpu
                    && let Some(throttling) = &cpu.throttling
                {
                    self.sample(labels, figure(throttling), cpu.time);
                }
            }
            // Where the figures are the runtime's, nobody knows the limits.
            F::Spec(figure) => {
                if let (Some(_), Some(cpu)) = (&group.cgroup, &group.cpu)
                    && let Some(value) = figure(&row)
                {
                    self.sample(labels, Number::Whole(value), cpu.time);
                }
            }
            F::Memory(figure) => {
                if let Some(memory) = &group.memory
                    && let Some(value) = figure(memory)
                {
                    self.sample(labels, Number::Whole(value), memory.time);
                }
            }
            F::Faults => self.faults(row, labels),
            F::Swap => {
                if let Some(swap) = &group.swap
                    && let Some(value) = swap.usage
                {
                    self.sample(labels, Number::Whole(value), swap.time);
                }
            }
            F::Disk(figure) => {
                let (figure, Some(io)) = (*figure, &group.io) else { return };
                for device in io.devices.iter().flatten() {
                    self.device(device);
                    self.sample(labels, Number::Whole(figure(device)), io.time);
                }
            }
            F::BlockDevices => self.block_devices(row, labels),
            F::RootFs(figure) => {
                if let Some(node) = row.node
                    && let Some(fs) = node.fs
                    && let Some(value) = figure(&fs)
                {
                    self.more = self::labels(&[("device", node.fs_device.as_deref().unwrap_or_default())]);
                    self.sample(labels, Number::Whole(value), fs.time);
                }
            }
            F::Network(figure) => {
                let (figure, Some(network)) = (*figure, row.network) else { return };
                for interface in &network.interfaces {
                    if let Some(value) = figure(interface) {
                        self.more = self::labels(&[("interface", &interface.name)]);
                        self.sample(labels, Number::Whole(value), network.time);
                    }
                }
            }
            F::Processes | F::Threads | F::ThreadsMax => self.tasks(row, labels),
            F::CpuPsi(figure) => self.psi(labels, group.cpu.and_then(|c| Some((c.psi?, c.time))), *figure),
            F::MemoryPsi(figure) => {
                self.psi(labels, group.memory.and_then(|m| Some((m.psi?, m.time))), *figure);
            }
            F::IoPsi(figure) => {
                self.psi(labels, group.io.as_ref().and_then(|io| Some((io.psi?, io.time))), *figure);
            }
            F::StartTime => {
                if let (Some(started), Some(cpu)) = (row.started, &group.cpu) {
                    let micros = u64::try_from(started.as_microsecond()).unwrap_or(0);
                    self.sample(labels, Number::Micros(micros), cpu.time);
                }
            }
            F::LastSeen => {
                if let Some(cpu) = &group.cpu {
                    let seconds = u64::try_from(cpu.time.as_second()).unwrap_or(0);
                    self.sample(labels, Number::Whole(seconds), cpu.time);
                }
            }
        }
    }

    fn faults(&mut self, row: Row<'_>, labels: &str) {
        let Some(memory) = &row.group.memory else { return };
        for (kind, count) in [("pgfault", memory.page_faults), ("pgmajfault", memory.major_page_faults)] {
            let Some(count) = count else { continue };
            for scope in ["container", "hierarchy"] {
                self.more = self::labels(&[("failure_type", kind), ("scope", scope)]);
                self.sample(labels, Number::Whole(count), memory.time);
            }
        }
    }

    fn device(&mut self, device: &DeviceIo) {
        self.more.clear();
        for part in ["device=\"", self.devices.name(device.major, device.minor), "\""] {
            self.more.push_str(part);
        }
    }

    fn block_devices(&mut self, row: Row<'_>, labels: &str) {
        let Some(io) = &row.group.io else { return };
        for device in io.devices.iter().flatten() {
            for (operation, bytes) in [("Read", device.read_bytes), ("Write", device.written_bytes)] {
                self.more = self::labels(&[
                    ("device", self.devices.name(device.major, device.minor)),
                    ("major", &device.major.to_string()),
                    ("minor", &device.minor.to_string()),
                    ("operation", operation),
                ]);
                self.sample(labels, Number::Whole(bytes), io.time);
            }
        }
    }

    fn tasks(&mut self, row: Row<'_>, labels: &str) {
        let Some(processes) = &row.group.processes else { return };
        let value = match self.family.figure {
            F::Processes => processes.processes,
            F::Threads => processes.tasks,
            // Where the tasks are known, so is their limit.
            _ => processes.tasks.map(|_| processes.limit.unwrap_or(0)),
        };
        if let Some(value) = value {
            self.sample(labels, Number::Whole(value), processes.time);
        }
    }

    fn psi(&mut self, labels: &str, psi: Option<(Psi, Timestamp)>, figure: fn(&Psi) -> Option<u64>) {
        if let Some((psi, time)) = psi
            && let Some(micros) = figure(&psi)
        {
            self.sample(labels, Number::Micros(micros), time);
        }
    }
}
