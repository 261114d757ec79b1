//! Pods and containers with what they use. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use podspec::PodSummary;
use serde_json::Value;

use crate::view::pods::{items, text};
use crate::view::summary::{Container, Cpu, Io, Memory, Psi, Summary};
use crate::view::table::printable;

/// What stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Cpu,
    Memory,
    Name,
    Restarts,
}

impl Order {
    /// By its name on the command line; what is none is by name.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "restarts" => Self::Restarts,
            _ => Self::Name,
        }
    }
}

/// A pod, or a container of the pod above it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// `NAMESPACE/POD`, or a container's name.
    pub(super) name: String,
    pub(super) is_container: bool,
    /// In nanoseconds of processor time a second.
    pub(super) cpu: Option<u64>,
    /// The working set in bytes.
    pub(super) memory: Option<u64>,
    pub(super) restarts: i64,
    /// Of a pod as kubectl tells it; of a container its state.
    pub(super) status: String,
    /// The resource that is waited for most, and the share of the last ten seconds in percent.
    pub(super) pressure: Option<(&'static str, f64)>,
    pub(super) probes: String,
}

/// A pod with its containers.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    pod: Row,
    containers: Vec<Row>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rows {
    groups: Vec<Group>,
}

/// What the probes of a container have shown: failures by the probe's purpose.
pub(super) type Probed = HashMap<(String, String, String), u64>;

/// Failed probes by UID, container and purpose, out of the series of `/metrics/probes`.
pub(super) fn probed(series: &str) -> Probed {
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let failures = series.lines().filter(|line| line.starts_with("prober_probe_total{"));
    let failures = failures.filter(|line| label(line, "result").as_deref() == Some("failed"));
    let parsed = failures.filter_map(|line| {
        let key = (label(line, "pod_uid")?, label(line, "container")?, label(line, "probe_type")?);
        Some((key, line.rsplit_once(' ')?.1.parse().ok()?))
    });
    parsed.collect()
}

impl Rows {
    pub(super) fn of(pods: &Value, summary: &Summary, probed: &Probed, namespace: Option<&str>) -> Self {
        let used: HashMap<&str, _> = summary.pods.iter().map(|pod| (pod.pod_ref.uid.as_str(), pod)).collect();
        let wanted =
            |pod: &&Value| namespace.is_none_or(|namespace| text(pod, "/metadata/namespace") == namespace);
        let nothing = crate::view::summary::Pod::default();
        let groups = items(pods).iter().filter(wanted).map(|pod| {
            let uid = text(pod, "/metadata/uid");
            let used = used.get(uid).copied().unwrap_or(&nothing);
            group(pod, used, &|container, purpose| {
                let key = (uid.to_owned(), container.to_owned(), purpose.to_owned());
                probed.get(&key).copied().unwrap_or_default()
            })
        });
        Self { groups: groups.collect() }
    }

    pub(super) fn pods(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn containers(&self) -> usize {
        self.groups.iter().map(|group| group.containers.len()).sum()
    }

    /// Whether something runs of which it is not known yet how much processor time it takes, though its memory is.
    pub(super) fn lacks_rates(&self) -> bool {
        let rows = self.groups.iter().flat_map(|group| &group.containers);
        rows.into_iter().any(|row| row.cpu.is_none() && row.memory.is_some())
    }

    /// Those that the filter leaves, in this order: each pod with its containers below it.
    pub(super) fn arranged(&self, order: Order, filter: &str) -> Vec<&Row> {
        let fits = |group: &&Group| {
            group.pod.name.contains(filter) || group.containers.iter().any(|row| row.name.contains(filter))
        };
        let mut groups: Vec<&Group> = self.groups.iter().filter(fits).collect();
        groups.sort_by(|a, b| {
            by(order, &a.pod).cmp(&by(order, &b.pod)).then_with(|| a.pod.name.cmp(&b.pod.name))
        });
        let mut rows = Vec::new();
        for group in groups {
            rows.push(&group.pod);
            let mut containers: Vec<&Row> = group.containers.iter().collect();
            // As they stand in the pod where they are alike.
            containers.sort_by_key(|row| by(order, row));
            rows.extend(containers);
        }
        rows
    }
}

fn by(order: Order, row: &Row) -> Reverse<u64> {
    Reverse(match order {
        Order::Cpu => row.cpu.map_or(0, |cpu| cpu.saturating_add(1)),
        Order::Memory => row.memory.map_or(0, |memory| memory.saturating_add(1)),
        Order::Restarts => row.restarts.unsigned_abs(),
        Order::Name => 0,
    })
}

fn group(pod: &Value, used: &crate::view::summary::Pod, failures: &impl Fn(&str, &str) -> u64) -> Group {
    let summary = PodSummary::of(pod);
    let row = Row {
        name: printable(&format!("{}/{}", text(pod, "/metadata/namespace"), text(pod, "/metadata/name"))),
        is_container: false,
        cpu: used.cpu.usage_nano_cores,
        memory: used.memory.working_set_bytes,
        restarts: summary.restarts.count,
        status: printable(&format!("{} {}/{}", summary.reason, summary.ready, summary.total)),
        pressure: pressure(&used.cpu, &used.memory, &used.io),
        probes: String::new(),
    };
    let lists = [
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
        ("ephemeralContainers", "ephemeralContainerStatuses"),
    ];
    let nothing = Container::default();
    let mut containers = Vec::new();
    for (list, statuses) in lists {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let name = text(container, "/name");
            let statuses = pod["status"][statuses].as_array().into_iter().flatten();
            let status = statuses.clone().find(|status| text(status, "/name") == name);
            let status = status.unwrap_or(&Value::Null);
            // An init container that is through is of no interest any more.
            if list == "initContainers" && status["state"]["terminated"]["exitCode"] == 0 {
                continue;
            }
            let used = used.containers.iter().find(|used| used.name == name).unwrap_or(&nothing);
            containers.push(Row {
                name: printable(name),
                is_container: true,
                cpu: used.cpu.usage_nano_cores,
                memory: used.memory.working_set_bytes,
                restarts: status["restartCount"].as_i64().unwrap_or_default(),
                status: printable(&state(status)),
                pressure: pressure(&used.cpu, &used.memory, &used.io),
                probes: probes(container, status, |purpose| failures(name, purpose)),
            });
        }
    }
    Group { pod: row, containers }
}

fn state(status: &Value) -> String {
    let state = &status["state"];
    if state["running"].is_object() {
        return "Running".to_owned();
    }
    let reason = |kind: &str| state[kind]["reason"].as_str().filter(|reason| !reason.is_empty());
    if let Some(reason) = reason("waiting").or_else(|| reason("terminated")) {
        return reason.to_owned();
    }
    match state["terminated"]["exitCode"].as_i64() {
        Some(code) => format!("ExitCode:{code}"),
        None => "Waiting".to_owned(),
    }
}

/// What the probes say, in a word each; failures are counted.
fn probes(container: &Value, status: &Value, failures: impl Fn(&str) -> u64) -> String {
    let is = |field: &str| status[field] == true;
    let word = |field: &str, purpose: &str, word: &str| {
        container[field].is_object().then(|| match failures(purpose) {
            0 => word.to_owned(),
            failed => format!("{word}({failed} failed)"),
        })
    };
    let words = [
        word("startupProbe", "Startup", if is("started") { "started" } else { "starting" }),
        word("readinessProbe", "Readiness", if is("ready") { "ready" } else { "unready" }),
        word("livenessProbe", "Liveness", "live"),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn pressure(cpu: &Cpu, memory: &Memory, io: &Io) -> Option<(&'static str, f64)> {
    let share = |psi: &Option<Psi>| psi.as_ref().map(|psi| psi.some.avg10);
    let shares = [("cpu", share(&cpu.psi)), ("memory", share(&memory.psi)), ("io", share(&io.psi))];
    let known = shares.into_iter().filter_map(|(name, share)| Some((name, share?)));
    known.reduce(|most, next| if next.1 > most.1 { next } else { most })
}

#[cfg(test)]
pub(super) mod tests;
