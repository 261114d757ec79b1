//! Pods, tiers and the node's own parts from the unified hierarchy (behaviour.md 21.1, 44.3).

use std::collections::HashMap;
use std::path::Path;

use cgroups::{CgroupDir, Part, Sampler, Tier, Tree};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::figures::{DeviceIo, Group, PodUsage, SystemUsage};
use super::rate::Rates;
use super::{group, known, machine, network};
use crate::cause::chain;

/// What is read: the hierarchy, and `/proc` for the networks of sandboxes.
pub(super) struct Reader<'a> {
    pub(super) tree: &'a Tree,
    pub(super) proc: &'a Path,
    pub(super) rates: &'a mut Rates,
    pub(super) sampler: Sampler,
}

impl Reader<'_> {
    /// Fills in what is known of `pods`; `specs` are theirs by UID. What goes away meanwhile has no figures.
    pub(super) fn pods(&mut self, pods: &mut [PodUsage], specs: &HashMap<&str, &Pod>) {
        for usage in pods {
            let Some(pod) = specs.get(usage.uid.as_str()) else { continue };
            let Ok(cgroup) = self.tree.layout().pod(cgroups::pod_tier(pod), &usage.uid) else { continue };
            let path = cgroup.path();
            if let Err(error) = self.pod(usage, pod, &path) {
                tracing::debug!(pod = usage.name, error = chain(&error), "a pod's cgroup cannot be read");
            }
        }
    }

    fn pod(&mut self, usage: &mut PodUsage, pod: &Pod, path: &str) -> Result<(), cgroups::FileError> {
        let Some(directory) = self.tree.files().open_cgroup(path)? else { return Ok(()) };
        usage.group = self.read(&directory, path, Part::Whole);
        for name in directory.children()? {
            let of = |id: &str| is_of(&name, id);
            let sandbox = usage.sandbox.as_mut().filter(|sandbox| of(&sandbox.id));
            let container = usage.containers.iter_mut().find(|container| of(&container.id));
            if sandbox.is_none() && container.is_none() {
                continue;
            }
            let Some(child) = directory.child(&name)? else { continue };
            let path = format!("{path}/{name}");
            if let Some(container) = container {
                container.group = self.read(&child, &path, Part::Whole);
            } else if let Some(sandbox) = sandbox {
                sandbox.group = self.read(&child, &path, Part::Basic);
                if !known::is_on_host_network(pod)
                    && let Some(pid) = self.process(&child)
                {
                    usage.network = network::of_process(self.proc, pid).ok();
                }
            }
        }
        // A pod's processes are in its containers' cgroups, and one is its sandbox's.
        if let Some(all) = &mut usage.group.processes {
            let of_containers = usage.containers.iter().filter_map(|c| c.group.processes?.processes);
            all.processes = Some(of_containers.sum::<u64>() + u64::from(usage.sandbox.is_some()));
        }
        Ok(())
    }

    /// One of a sandbox's processes. crun has them in a cgroup below the scope.
    fn process(&mut self, sandbox: &CgroupDir) -> Option<u32> {
        let own = self.sampler.process(sandbox);
        own.or_else(|| {
            let below = sandbox.children().ok()?;
            below.iter().find_map(|name| self.sampler.process(&sandbox.child(name).ok()??))
        })
    }

    fn read(&mut self, directory: &CgroupDir, path: &str, part: Part) -> Group {
        let sample = self.sampler.sample(directory, part);
        group::of(path, &sample, Timestamp::now(), self.rates)
    }

    /// The cgroup at `path`; none where it is not there or cannot be read.
    pub(super) fn cgroup(&mut self, path: &str) -> Option<Group> {
        match self.tree.files().open_cgroup(path) {
            Ok(directory) => Some(self.read(&directory?, path, Part::Whole)),
            Err(error) => {
                tracing::debug!(error = chain(&error), "a cgroup cannot be read");
                None
            }
        }
    }

    /// All pods together, then each tier below them.
    pub(super) fn tiers(&mut self) -> Vec<Group> {
        let paths = Tier::ALL.map(|tier| self.tree.layout().tier(tier).path());
        paths.iter().filter_map(|path| self.cgroup(path)).collect()
    }

    /// What all disks have done.
    pub(super) fn disks(&mut self) -> Option<Vec<DeviceIo>> {
        let group = self.cgroup("/")?;
        group.io?.devices
    }

    /// The parts of the node that are no pods: by the cgroup of a process, or by its path.
    pub(super) fn system(&mut self, name: &'static str, path: Option<String>) -> Option<SystemUsage> {
        let path = path.filter(|path| !path.trim_matches('/').is_empty())?;
        Some(SystemUsage { name, start_time: None, group: self.cgroup(&path)? })
    }
}

/// The paths that the node's own parts have: of this program, of the runtime, and of the rest where a setting names it.
pub(super) fn own_cgroup(proc: &Path, setting: &str, process: Option<u32>) -> Option<String> {
    if !setting.is_empty() {
        return Some(setting.to_owned());
    }
    machine::cgroup_of(proc, &process?.to_string())
}

/// Whether a cgroup in a pod's is that of the container `id`: the id itself, or systemd's name `RUNTIME-ID.scope`. A monitor's cgroup of
/// CRI-O's (`crio-conmon-ID.scope`) is not the container's.
fn is_of(name: &str, id: &str) -> bool {
    let scope = name.strip_suffix(".scope").and_then(|name| name.strip_suffix(id)?.strip_suffix('-'));
    name == id || scope.is_some_and(|runtime| !runtime.ends_with("conmon"))
}

#[cfg(test)]
mod tests;
