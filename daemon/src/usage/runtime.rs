//! What the runtime says of its sandboxes and containers: the figures themselves where there is no unified hierarchy with pods' cgroups
//! in it, and the writable layers everywhere.

use std::collections::HashMap;

use cri_client::v1;
use jiff::Timestamp;

use super::figures::{Cpu, Fs, Group, Interface, Io, Memory, Network, PodUsage, Processes, Psi, Stall, Swap};
use super::rate::Rates;

/// Fills in what the runtime has said of `pods`. What it left out is unknown.
pub(super) fn pods(pods: &mut [PodUsage], stats: &[v1::PodSandboxStats], rates: &mut Rates) {
    let id = |stats: &v1::PodSandboxStats| stats.attributes.as_ref().map(|attributes| attributes.id.clone());
    let sandboxes: HashMap<String, &v1::PodSandboxStats> =
        stats.iter().filter_map(|stats| Some((id(stats)?, stats))).collect();
    for pod in pods {
        let Some(sandbox) = &pod.sandbox else { continue };
        let Some(linux) = sandboxes.get(&sandbox.id).and_then(|stats| stats.linux.as_ref()) else { continue };
        pod.group =
            group(&sandbox.id, linux.cpu.as_ref(), linux.memory.as_ref(), None, linux.io.as_ref(), rates);
        pod.group.processes = linux.process.as_ref().and_then(processes);
        pod.network = linux.network.as_ref().map(network);
        for stats in &linux.containers {
            let id = stats.attributes.as_ref().map_or("", |attributes| attributes.id.as_str());
            let Some(container) = pod.containers.iter_mut().find(|container| container.id == id) else {
                continue;
            };
            let (cpu, memory) = (stats.cpu.as_ref(), stats.memory.as_ref());
            container.group = group(id, cpu, memory, stats.swap.as_ref(), stats.io.as_ref(), rates);
        }
    }
}

/// The same of a runtime that knows nothing of sandboxes (containerd, where a sandbox has no cgroup to be in): a pod uses what its
/// containers use, once that is known of each.
pub(super) fn containers(pods: &mut [PodUsage], stats: &[v1::ContainerStats], rates: &mut Rates) {
    let by_id: HashMap<&str, &v1::ContainerStats> =
        stats.iter().filter_map(|stats| Some((stats.attributes.as_ref()?.id.as_str(), stats))).collect();
    for pod in pods {
        for container in &mut pod.containers {
            let Some(stats) = by_id.get(container.id.as_str()) else { continue };
            let (cpu, memory) = (stats.cpu.as_ref(), stats.memory.as_ref());
            let (swap, io) = (stats.swap.as_ref(), stats.io.as_ref());
            container.group = group(&container.id, cpu, memory, swap, io, rates);
        }
        let of = |part: fn(&Group) -> Option<u64>| -> Option<u64> {
            let parts: Option<Vec<u64>> =
                pod.containers.iter().map(|container| part(&container.group)).collect();
            parts.filter(|parts| !parts.is_empty()).map(|parts| parts.iter().sum())
        };
        let cpu = of(|group| group.cpu.as_ref()?.usage_core_nanos);
        let cores = of(|group| group.cpu.as_ref()?.usage_nano_cores);
        let working_set = of(|group| group.memory.as_ref()?.working_set);
        let usage = of(|group| group.memory.as_ref()?.usage);
        let first =
            |time: fn(&Group) -> Option<Timestamp>| pod.containers.iter().find_map(|c| time(&c.group));
        let (cpu_time, memory_time) =
            (first(|group| Some(group.cpu.as_ref()?.time)), first(|group| Some(group.memory.as_ref()?.time)));
        pod.group.cpu = cpu.zip(cpu_time).map(|(used, time)| Cpu {
            time,
            usage_core_nanos: Some(used),
            usage_nano_cores: cores,
            ..Cpu::default()
        });
        pod.group.memory = working_set.zip(memory_time).map(|(working_set, time)| Memory {
            working_set: Some(working_set),
            usage,
            ..Memory::at(time)
        });
    }
}

fn group(
    id: &str,
    cpu: Option<&v1::CpuUsage>,
    memory: Option<&v1::MemoryUsage>,
    swap: Option<&v1::SwapUsage>,
    io: Option<&v1::IoUsage>,
    rates: &mut Rates,
) -> Group {
    Group {
        cpu: cpu.map(|cpu| {
            let (time, used) = (time(cpu.timestamp), value(cpu.usage_core_nano_seconds));
            Cpu {
                time,
                usage_core_nanos: used,
                usage_nano_cores: used.and_then(|used| rates.nano_cores(id, time, used)),
                psi: cpu.psi.as_ref().and_then(psi),
                ..Cpu::default()
            }
        }),
        memory: memory.map(|memory| Memory {
            available: value(memory.available_bytes),
            usage: value(memory.usage_bytes),
            working_set: value(memory.working_set_bytes),
            rss: value(memory.rss_bytes),
            page_faults: value(memory.page_faults),
            major_page_faults: value(memory.major_page_faults),
            psi: memory.psi.as_ref().and_then(psi),
            ..Memory::at(time(memory.timestamp))
        }),
        swap: swap.map(|swap| Swap {
            time: time(swap.timestamp),
            usage: value(swap.swap_usage_bytes),
            available: value(swap.swap_available_bytes),
            limit: None,
        }),
        io: io.map(|io| Io { time: time(io.timestamp), devices: None, psi: io.psi.as_ref().and_then(psi) }),
        ..Group::default()
    }
}

fn processes(usage: &v1::ProcessUsage) -> Option<Processes> {
    let processes = Some(value(usage.process_count)?);
    Some(Processes { time: time(usage.timestamp), tasks: None, processes, limit: None })
}

fn network(usage: &v1::NetworkUsage) -> Network {
    let interface = |usage: &v1::NetworkInterfaceUsage| Interface {
        name: usage.name.clone(),
        rx_bytes: value(usage.rx_bytes),
        rx_errors: value(usage.rx_errors),
        tx_bytes: value(usage.tx_bytes),
        tx_errors: value(usage.tx_errors),
        ..Interface::default()
    };
    let default = usage.default_interface.as_ref();
    let mut interfaces: Vec<Interface> =
        default.into_iter().chain(&usage.interfaces).map(interface).collect();
    // Some runtimes name the default one among the others too.
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    interfaces.dedup_by(|a, b| a.name == b.name);
    Network {
        time: time(usage.timestamp),
        default: default.map(|interface| interface.name.clone()),
        interfaces,
    }
}

/// What the writable layer of each container takes, by its id: bytes, inodes, and when that was counted.
pub(super) fn layers(stats: &[v1::ContainerStats]) -> HashMap<String, Layer> {
    let layer = |stats: &v1::ContainerStats| {
        let (id, layer) = (stats.attributes.as_ref()?.id.clone(), stats.writable_layer.as_ref()?);
        let place = layer.fs_id.as_ref().map(|id| id.mountpoint.clone()).unwrap_or_default();
        let (bytes, inodes) = (value(layer.used_bytes), value(layer.inodes_used));
        Some((id, Layer { time: time(layer.timestamp), place, bytes, inodes }))
    };
    stats.iter().filter_map(layer).collect()
}

/// A writable layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) time: Timestamp,
    /// A path on its file system.
    pub(super) place: String,
    pub(super) bytes: Option<u64>,
    pub(super) inodes: Option<u64>,
}

/// The file systems of images and of writable layers: a path on each, and what it takes there.
pub(super) fn file_system(usage: &v1::FilesystemUsage) -> Option<(String, Fs)> {
    let place = usage.fs_id.as_ref()?.mountpoint.clone();
    let (used, inodes_used) = (value(usage.used_bytes), value(usage.inodes_used));
    Some((place, Fs { time: time(usage.timestamp), used, inodes_used, ..Fs::default() }))
}

fn value(value: Option<v1::UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

/// Nanoseconds since 1970; a runtime that does not tell the time has measured now.
fn time(nanos: i64) -> Timestamp {
    let told = (nanos > 0).then(|| Timestamp::from_nanosecond(nanos.into()).ok()).flatten();
    told.unwrap_or_else(Timestamp::now)
}

fn psi(stats: &v1::PsiStats) -> Option<Psi> {
    let stall = |data: &v1::PsiData| Stall {
        total_micros: data.total,
        avg10: data.avg10,
        avg60: data.avg60,
        avg300: data.avg300,
    };
    Some(Psi { some: stall(stats.some.as_ref()?), full: stats.full.as_ref().map(stall) })
}

#[cfg(test)]
mod tests;
