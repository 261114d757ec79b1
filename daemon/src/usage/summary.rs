//! `/stats/summary`, in a kubelet's words (behaviour.md 44.2 to 44.4). What is unknown is left out.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::figures::{
    ContainerUsage, Cpu, Fs, Group, Interface, Io, Memory, Network, NodeUsage, PodUsage, Processes, Psi,
    Stall, Swap, SystemUsage, VolumeKind, VolumeUsage,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// `only_cpu_and_memory`.
    CpuAndMemory,
}

#[derive(Debug, Serialize)]
pub(crate) struct Summary<'a> {
    node: Node<'a>,
    pods: Vec<Pod<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    node_name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system_containers: Vec<Container<'a>>,
    start_time: Time,
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkStats<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rlimit: Option<Rlimit>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Runtime {
    #[serde(skip_serializing_if = "Option::is_none")]
    image_fs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_fs: Option<FsStats>,
}

#[derive(Debug, Serialize)]
struct Rlimit {
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    maxpid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    curproc: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pod<'a> {
    pod_ref: PodRef<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Time>,
    containers: Vec<Container<'a>>,
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkStats<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volume: Vec<Volume<'a>>,
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    ephemeral_storage: Option<FsStats>,
    #[serde(rename = "process_stats", skip_serializing_if = "Option::is_none")]
    process_stats: Option<ProcessStats>,
}

#[derive(Debug, Serialize)]
struct PodRef<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
}

#[derive(Debug, Serialize)]
struct ProcessStats {
    process_count: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Time>,
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    rootfs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<FsStats>,
}

/// What a node, a pod and a container have alike.
#[derive(Debug, Serialize)]
struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<CpuStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io: Option<IoStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<SwapStats>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CpuStats {
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_nano_cores: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_core_nano_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<PsiStats>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemoryStats {
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_set_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_faults: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    major_page_faults: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<PsiStats>,
}

#[derive(Debug, Serialize)]
struct IoStats {
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<PsiStats>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SwapStats {
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_usage_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct PsiStats {
    #[serde(skip_serializing_if = "Option::is_none")]
    full: Option<PsiData>,
    some: PsiData,
}

/// The total in microseconds, as the kernel has it and a kubelet passes it on.
#[derive(Debug, Serialize)]
struct PsiData {
    total: u64,
    avg10: f64,
    avg60: f64,
    avg300: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FsStats {
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes_free: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes_used: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    #[serde(flatten)]
    fs: FsStats,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pvc_ref: Option<PvcRef<'a>>,
}

#[derive(Debug, Serialize)]
struct PvcRef<'a> {
    name: &'a str,
    namespace: &'a str,
}

#[derive(Debug, Serialize)]
struct NetworkStats<'a> {
    time: Time,
    /// Of the default one.
    #[serde(flatten)]
    default: Option<InterfaceStats<'a>>,
    interfaces: Vec<InterfaceStats<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceStats<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rx_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rx_errors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_errors: Option<u64>,
}

/// Whole seconds, as the API's times are; null where it is not known.
#[derive(Clone, Copy, Debug)]
struct Time(Option<Timestamp>);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%SZ")),
            None => serializer.serialize_none(),
        }
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(Some(time))
    }
}

/// The page.
pub(crate) fn of<'a>(
    name: &'a str,
    node: &'a NodeUsage,
    pods: &'a [PodUsage],
    extent: Extent,
) -> Summary<'a> {
    let is_whole = extent == Extent::Whole;
    let runtime = Runtime { image_fs: node.image_fs.map(fs), container_fs: node.container_fs.map(fs) };
    Summary {
        node: Node {
            node_name: name,
            system_containers: node.system.iter().map(|system| self::system(system, extent)).collect(),
            start_time: Time(node.start_time),
            figures: figures(&node.group, extent),
            network: node.network.as_ref().filter(|_| is_whole).map(network),
            fs: node.fs.filter(|_| is_whole).map(fs),
            runtime: (is_whole && (runtime.image_fs.is_some() || runtime.container_fs.is_some()))
                .then_some(runtime),
            rlimit: node.tasks.filter(|_| is_whole).map(|tasks| Rlimit {
                time: tasks.time.into(),
                maxpid: tasks.limit,
                curproc: tasks.tasks,
            }),
        },
        pods: pods.iter().map(|usage| pod(usage, extent)).collect(),
    }
}

fn system(system: &SystemUsage, extent: Extent) -> Container<'_> {
    Container {
        name: system.name,
        start_time: system.start_time.map(Time::from),
        figures: figures(&system.group, extent),
        rootfs: None,
        logs: None,
    }
}

fn pod(pod: &PodUsage, extent: Extent) -> Pod<'_> {
    let is_whole = extent == Extent::Whole;
    let processes = pod.group.processes.filter(|_| is_whole);
    Pod {
        pod_ref: PodRef { name: &pod.name, namespace: &pod.namespace, uid: &pod.uid },
        start_time: pod.start_time.map(Time::from),
        containers: pod.containers.iter().map(|usage| container(usage, extent)).collect(),
        figures: figures(&pod.group, extent),
        network: pod.network.as_ref().filter(|_| is_whole).map(network),
        volume: if is_whole {
            pod.volumes.iter().map(|volume| self::volume(volume, &pod.namespace)).collect()
        } else {
            Vec::new()
        },
        ephemeral_storage: pod.ephemeral_storage.filter(|_| is_whole).map(fs),
        process_stats: processes
            .and_then(|Processes { processes, tasks, .. }| processes.or(tasks))
            .map(|process_count| ProcessStats { process_count }),
    }
}

fn container(container: &ContainerUsage, extent: Extent) -> Container<'_> {
    let is_whole = extent == Extent::Whole;
    Container {
        name: &container.name,
        start_time: container.start_time.map(Time::from),
        figures: figures(&container.group, extent),
        rootfs: container.rootfs.filter(|_| is_whole).map(fs),
        logs: container.logs.filter(|_| is_whole).map(fs),
    }
}

fn figures(group: &Group, extent: Extent) -> Figures {
    let is_whole = extent == Extent::Whole;
    Figures {
        cpu: group.cpu.map(cpu),
        memory: group.memory.map(memory),
        io: group.io.as_ref().filter(|io| is_whole && io.psi.is_some()).map(io),
        swap: group.swap.filter(|_| is_whole).map(swap),
    }
}

fn cpu(cpu: Cpu) -> CpuStats {
    CpuStats {
        time: cpu.time.into(),
        usage_nano_cores: cpu.usage_nano_cores,
        usage_core_nano_seconds: cpu.usage_core_nanos,
        psi: cpu.psi.map(psi),
    }
}

fn memory(memory: Memory) -> MemoryStats {
    MemoryStats {
        time: memory.time.into(),
        available_bytes: memory.available,
        usage_bytes: memory.usage,
        working_set_bytes: memory.working_set,
        rss_bytes: memory.rss,
        page_faults: memory.page_faults,
        major_page_faults: memory.major_page_faults,
        psi: memory.psi.map(psi),
    }
}

fn io(io: &Io) -> IoStats {
    IoStats { time: io.time.into(), psi: io.psi.map(psi) }
}

fn swap(swap: Swap) -> SwapStats {
    SwapStats { time: swap.time.into(), swap_available_bytes: swap.available, swap_usage_bytes: swap.usage }
}

fn psi(psi: Psi) -> PsiStats {
    let data = |stall: Stall| PsiData {
        total: stall.total_micros,
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    };
    PsiStats { full: psi.full.map(data), some: data(psi.some) }
}

fn fs(fs: Fs) -> FsStats {
    FsStats {
        time: fs.time.into(),
        available_bytes: fs.available,
        capacity_bytes: fs.capacity,
        used_bytes: fs.used,
        inodes_free: fs.inodes_free,
        inodes: fs.inodes,
        inodes_used: fs.inodes_used,
    }
}

fn volume<'a>(volume: &'a VolumeUsage, namespace: &'a str) -> Volume<'a> {
    let pvc_ref = match &volume.kind {
        VolumeKind::Claim(name) => Some(PvcRef { name, namespace }),
        _ => None,
    };
    Volume { fs: fs(volume.fs), name: &volume.name, pvc_ref }
}

fn network(network: &Network) -> NetworkStats<'_> {
    let default = network.default.as_deref();
    NetworkStats {
        time: network.time.into(),
        default: network.interfaces.iter().find(|i| Some(i.name.as_str()) == default).map(interface),
        interfaces: network.interfaces.iter().map(interface).collect(),
    }
}

fn interface(interface: &Interface) -> InterfaceStats<'_> {
    InterfaceStats {
        name: &interface.name,
        rx_bytes: interface.rx_bytes,
        rx_errors: interface.rx_errors,
        tx_bytes: interface.tx_bytes,
        tx_errors: interface.tx_errors,
    }
}

#[cfg(test)]
mod tests;
