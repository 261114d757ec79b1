//! `/metrics/cadvisor`: what containers, pods, tiers and the node use, under the names and labels that dashboards know (behaviour.md 44.6).
//!
//! Written one name at a time, each when the caller has taken the one before: a node with hundreds of containers has megabytes of it.

mod families;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use self::families::{Emit, FAMILIES};
use super::figures::{Group, Network, NodeUsage, PodUsage};
use super::series::{Kind, Number, Text, labels};
use crate::node::info::Machine;

/// A scrape that is being written.
#[derive(Debug)]
pub(crate) struct Scrape {
    node: Arc<NodeUsage>,
    pods: Arc<Vec<PodUsage>>,
    /// Of each row, in the order of [`Scrape::rows`]; none of one whose cgroup another row before it has.
    labels: Vec<Option<String>>,
    machine: Arc<Machine>,
    devices: Devices,
    next: usize,
    text: Text,
}

/// One cgroup, or what stands for it.
#[derive(Clone, Copy, Debug)]
struct Row<'a> {
    group: &'a Group,
    /// Of a sandbox: its pod's; of the node: its own.
    network: Option<&'a Network>,
    started: Option<Timestamp>,
    /// The node as a whole.
    node: Option<&'a NodeUsage>,
}

impl Scrape {
    /// Figures as they were read.
    pub(crate) fn new(node: Arc<NodeUsage>, pods: Arc<Vec<PodUsage>>, machine: Arc<Machine>) -> Self {
        let mut scrape = Self {
            node,
            pods,
            labels: Vec::new(),
            machine,
            devices: Devices::default(),
            next: 0,
            text: Text::default(),
        };
        scrape.labels = scrape.once_each();
        scrape.devices = Devices::of(scrape.rows().map(|row| row.group));
        scrape
    }

    /// The kubelet and the runtime may be in one cgroup, and a setting may name it or another again.
    fn once_each(&self) -> Vec<Option<String>> {
        let mut written = HashSet::new();
        let mut is_new = |row: Row<'_>| {
            let cgroup = row.group.cgroup.as_ref();
            cgroup.is_none_or(|cgroup| written.insert(cgroup.trim_matches('/').to_owned()))
        };
        let rows = self.rows().zip(self.row_labels());
        rows.map(|(row, labels)| is_new(row).then_some(labels)).collect()
    }

    fn row_labels(&self) -> Vec<String> {
        let plain = |id: &str| base("", id, "", "", "", "");
        let mut all = vec![plain("/")];
        let system =
            self.node.system.iter().filter(|system| system.name != "pods").map(|system| &system.group);
        all.extend(self.node.tiers.iter().chain(system).map(|group| plain(id(group))));
        for pod in self.pods.iter() {
            let of_pod = |container: &str, group: &Group, image: &str, name: &str| {
                base(container, id(group), image, name, &pod.namespace, &pod.name)
            };
            all.push(of_pod("", &pod.group, "", ""));
            all.extend(pod.sandbox.iter().map(|sandbox| of_pod("", &sandbox.group, "", &sandbox.id)));
            all.extend(pod.containers.iter().map(|c| of_pod(&c.name, &c.group, &c.image, &c.id)));
        }
        all
    }

    /// The node, its tiers and other parts, and of each pod itself, its sandbox and its containers.
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let plain = |group| Row { group, network: None, started: None, node: None };
        let node = Row {
            network: self.node.network.as_ref(),
            node: Some(&self.node),
            started: self.node.start_time,
            ..plain(&self.node.group)
        };
        let system =
            self.node.system.iter().filter(|system| system.name != "pods").map(|system| &system.group);
        let parts = self.node.tiers.iter().chain(system).map(plain);
        let pods = self.pods.iter().flat_map(move |pod| {
            let itself = Row { started: pod.start_time, ..plain(&pod.group) };
            let sandbox = pod.sandbox.iter().map(move |sandbox| Row {
                network: pod.network.as_ref(),
                started: pod.start_time,
                ..plain(&sandbox.group)
            });
            let containers =
                pod.containers.iter().map(move |c| Row { started: c.start_time, ..plain(&c.group) });
            std::iter::once(itself).chain(sandbox).chain(containers)
        });
        std::iter::once(node).chain(parts).chain(pods)
    }

    /// Writes one name; none where no figure of it is known.
    fn write(&mut self, at: usize) {
        let mut text = std::mem::take(&mut self.text);
        match FAMILIES.get(at) {
            Some(family) => {
                let mut emit = Emit::new(family, &mut text, &self.devices);
                for (row, labels) in self.rows().zip(&self.labels) {
                    if let Some(labels) = labels {
                        emit.row(row, labels);
                    }
                }
            }
            None => self.machine(&mut text),
        }
        self.text = text;
    }

    /// What does not change.
    fn machine(&self, text: &mut Text) {
        let machine = &self.machine;
        let labels = labels(&[
            ("boot_id", &machine.boot_id),
            ("machine_id", &machine.machine_id),
            ("system_uuid", &machine.system_uuid),
        ]);
        for (name, help, value) in [
            ("machine_cpu_cores", "Logical processors.", u64::from(machine.cpus)),
            ("machine_memory_bytes", "Memory of the machine, in bytes.", machine.memory_bytes),
            ("machine_swap_bytes", "Swap of the machine, in bytes.", machine.swap_bytes),
        ] {
            text.family(name, Kind::Gauge, help);
            text.sample(name, &labels, "", Number::Whole(value), None);
        }
        for (name, help) in [
            ("container_scrape_error", "1 where figures of containers could not be had, else 0."),
            ("machine_scrape_error", "1 where figures of the machine could not be had, else 0."),
        ] {
            text.family(name, Kind::Gauge, help);
            text.sample(name, "", "", Number::Whole(0), None);
        }
    }
}

impl Iterator for Scrape {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.next <= FAMILIES.len() {
            self.write(self.next);
            self.next += 1;
            if !self.text.is_empty() {
                return Some(Bytes::from(self.text.take()));
            }
        }
        None
    }
}

fn id(group: &Group) -> &str {
    group.cgroup.as_deref().unwrap_or_default()
}

fn base(container: &str, id: &str, image: &str, name: &str, namespace: &str, pod: &str) -> String {
    labels(&[
        ("container", container),
        ("id", id),
        ("image", image),
        ("name", name),
        ("namespace", namespace),
        ("pod", pod),
    ])
}

/// The names of disks by their numbers, of those that figures are of.
#[derive(Debug, Default)]
struct Devices(Vec<((u32, u32), String)>);

impl Devices {
    fn of<'a>(groups: impl Iterator<Item = &'a Group>) -> Self {
        let mut names: Vec<((u32, u32), String)> = Vec::new();
        for io in groups.filter_map(|group| group.io.as_ref()).flat_map(|io| io.devices.iter().flatten()) {
            let number = (io.major, io.minor);
            if !names.iter().any(|(known, _)| *known == number) {
                names.push((number, device_name(number)));
            }
        }
        Self(names)
    }

    /// A disk without a name has an empty one, as upstream writes it.
    fn name(&self, major: u32, minor: u32) -> &str {
        let found = self.0.iter().find(|(number, _)| *number == (major, minor));
        found.map_or("", |(_, name)| name)
    }
}

/// `/dev/NAME`, as the kernel names it.
fn device_name((major, minor): (u32, u32)) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link.ok().and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
    name.map(|name| format!("/dev/{name}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
