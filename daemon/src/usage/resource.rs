//! `/metrics/resource`, from which metrics-server makes what `kubectl top` shows (behaviour.md 44.1).
//!
//! Each sample has the time at which it was measured. A container without a start time is left out: a rate over its counter could
//! reach into another run.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::figures::{Group, NodeUsage, PodUsage};
use super::series::{Kind, Number, Text, labels};

/// A figure of a group with its time.
type Figure = fn(&Group) -> Option<(Number, Timestamp)>;

fn cpu(group: &Group) -> Option<(Number, Timestamp)> {
    let cpu = group.cpu.as_ref()?;
    Some((Number::Nanos(cpu.usage_core_nanos?), cpu.time))
}

fn working_set(group: &Group) -> Option<(Number, Timestamp)> {
    let memory = group.memory.as_ref()?;
    Some((Number::Whole(memory.working_set?), memory.time))
}

fn swap(group: &Group) -> Option<(Number, Timestamp)> {
    let swap = group.swap.as_ref()?;
    Some((Number::Whole(swap.usage?), swap.time))
}

fn swap_limit(group: &Group) -> Option<(Number, Timestamp)> {
    let swap = group.swap.as_ref()?;
    Some((Number::Whole(swap.limit?), swap.time))
}

/// The page; `has_failed` where the figures could not be had.
pub(crate) fn text(node: &NodeUsage, pods: &[PodUsage], has_failed: bool) -> String {
    let mut text = Text::default();
    let nodes = [(String::new(), &node.group)];
    let pods = newest(pods);
    let of_pods: Vec<(String, &Group)> = pods
        .iter()
        .map(|pod| (labels(&[("namespace", &pod.namespace), ("pod", &pod.name)]), &pod.group))
        .collect();
    let containers: Vec<(String, &Group, Timestamp)> = pods
        .iter()
        .flat_map(|pod| {
            pod.containers.iter().filter_map(|container| {
                let labels = labels(&[
                    ("container", &container.name),
                    ("namespace", &pod.namespace),
                    ("pod", &pod.name),
                ]);
                Some((labels, &container.group, container.start_time?))
            })
        })
        .collect();
    let groups: Vec<(String, &Group)> =
        containers.iter().map(|(labels, group, _)| (labels.clone(), *group)).collect();

    let mut family = |name: &str, kind: Kind, help: &str, groups: &[(String, &Group)], figure: Figure| {
        let mut samples =
            groups.iter().filter_map(|(labels, group)| Some((labels, figure(group)?))).peekable();
        if samples.peek().is_some() {
            text.family(name, kind, help);
        }
        for (labels, (value, time)) in samples {
            text.sample(name, labels, "", value, Some(time));
        }
    };
    let (counter, gauge) = (Kind::Counter, Kind::Gauge);
    family(
        "node_cpu_usage_seconds_total",
        counter,
        "[STABLE] Processor time that the node has used, in seconds.",
        &nodes,
        cpu,
    );
    family(
        "node_memory_working_set_bytes",
        gauge,
        "[STABLE] Working set of the node, in bytes.",
        &nodes,
        working_set,
    );
    family("node_swap_usage_bytes", gauge, "[ALPHA] Swap that the node uses, in bytes.", &nodes, swap);
    family(
        "container_cpu_usage_seconds_total",
        counter,
        "[STABLE] Processor time that the container has used, in seconds.",
        &groups,
        cpu,
    );
    family(
        "container_memory_working_set_bytes",
        gauge,
        "[STABLE] Working set of the container, in bytes.",
        &groups,
        working_set,
    );
    family(
        "container_swap_usage_bytes",
        gauge,
        "[ALPHA] Swap that the container uses, in bytes.",
        &groups,
        swap,
    );
    family(
        "container_swap_limit_bytes",
        gauge,
        "[ALPHA] Swap that the container may use, in bytes.",
        &groups,
        swap_limit,
    );
    family(
        "pod_cpu_usage_seconds_total",
        counter,
        "[STABLE] Processor time that the pod has used, in seconds.",
        &of_pods,
        cpu,
    );
    family(
        "pod_memory_working_set_bytes",
        gauge,
        "[STABLE] Working set of the pod, in bytes.",
        &of_pods,
        working_set,
    );
    family("pod_swap_usage_bytes", gauge, "[ALPHA] Swap that the pod uses, in bytes.", &of_pods, swap);

    if !containers.is_empty() {
        let name = "container_start_time_seconds";
        text.family(name, gauge, "[STABLE] When the container has started, in seconds since 1970.");
        for (labels, group, started) in &containers {
            let time = group.cpu.as_ref().map(|cpu| cpu.time);
            let started = u64::try_from(started.as_microsecond()).unwrap_or(0);
            text.sample(name, labels, "", Number::Micros(started), time);
        }
    }
    let failed = Number::Whole(has_failed.into());
    text.family("resource_scrape_error", gauge, "[STABLE] 1 where figures could not be had, else 0.");
    text.sample("resource_scrape_error", "", "", failed, None);
    text.family(
        "scrape_error",
        gauge,
        "[ALPHA] (Deprecated since 1.29.0) 1 where figures could not be had, else 0.",
    );
    text.sample("scrape_error", "", "", failed, None);
    text.take()
}

/// One pod of each name: of two, of which one is still ending, the one that has started last.
fn newest(pods: &[PodUsage]) -> Vec<&PodUsage> {
    let mut newest: BTreeMap<(&str, &str), &PodUsage> = BTreeMap::new();
    for pod in pods {
        let known = newest.entry((&pod.namespace, &pod.name)).or_insert(pod);
        if pod.start_time > known.start_time {
            *known = pod;
        }
    }
    newest.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::super::figures::{ContainerUsage, Cpu, Memory};
    use super::*;

    fn group(seconds: u64, bytes: u64) -> Group {
        let time = Timestamp::from_second(1000).unwrap();
        Group {
            cpu: Some(Cpu { time, usage_core_nanos: Some(seconds * 1_000_000_000), ..Cpu::default() }),
            memory: Some(Memory { working_set: Some(bytes), ..Memory::at(time) }),
            ..Group::default()
        }
    }

    #[test]
    fn row_44_1_what_metrics_server_reads_is_there_with_its_time_and_what_is_unknown_is_not() {
        let container = |name: &str, start_time| ContainerUsage {
            name: name.into(),
            group: group(5, 6),
            start_time,
            ..ContainerUsage::default()
        };
        let pod = PodUsage {
            namespace: "ns".into(),
            name: "p".into(),
            group: group(3, 4),
            containers: vec![container("c", Timestamp::from_second(900).ok()), container("d", None)],
            ..PodUsage::default()
        };
        let node = NodeUsage { group: group(1, 2), ..NodeUsage::default() };
        let started = |seconds| PodUsage { start_time: Timestamp::from_second(seconds).ok(), ..pod.clone() };
        let ending = PodUsage { group: group(77, 77), ..started(400) };
        let pods = [ending.clone(), started(800), ending];
        let text = text(&node, &pods, false);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let wanted = [
            "node_cpu_usage_seconds_total 1 1000000",
            "node_memory_working_set_bytes 2 1000000",
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p\"} 5 1000000",
            "container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=\"p\"} 6 1000000",
            "pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"p\"} 3 1000000",
            "pod_memory_working_set_bytes{namespace=\"ns\",pod=\"p\"} 4 1000000",
            "container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"p\"} 900 1000000",
            "resource_scrape_error 0",
            "scrape_error 0",
        ];
        assert_eq!(samples, wanted);
    }
}
