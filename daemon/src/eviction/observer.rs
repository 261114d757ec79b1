//! One measurement of the node: of each signal that has a threshold, and of no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ::eviction::drivers::pressure::Stall;
use ::eviction::drivers::{ReadError, filesystem, memory, pids, pressure};
use ::eviction::{Filesystem, Layout, Left, Observation, Signal, Threshold};
use cgroups::Driver;
use tokio::sync::watch;

use crate::cause::chain;
use crate::config::Config;
use crate::node::RuntimeState;

/// Where the kernel tells, and what is the node's own.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `/proc`.
    pub(crate) proc: PathBuf,
    /// `/sys/fs/cgroup`.
    pub(crate) cgroups: PathBuf,
    pub(crate) root_dir: PathBuf,
}

impl Place {
    /// The file of memory pressure of all that runs on the node.
    pub(super) fn pressure(&self) -> PathBuf {
        self.proc.join("pressure/memory")
    }
}

#[derive(Debug)]
pub(super) struct Observer {
    wanted: BTreeSet<Signal>,
    place: Place,
    /// Where the pods' top cgroup may be, in either driver's way; the runtime tells later which one is used.
    tops: Vec<PathBuf>,
    stall: Option<Stall>,
    runtime: watch::Receiver<RuntimeState>,
    /// What could not be measured, so that it is told once.
    failed: BTreeSet<&'static str>,
}

impl Observer {
    pub(super) fn new(
        config: &Config,
        thresholds: &[Threshold],
        place: Place,
        stall: Option<Stall>,
        runtime: watch::Receiver<RuntimeState>,
    ) -> Self {
        let top = |driver| {
            let layout = cgroups::Layout::new(driver, &config.cgroup_root).ok()?;
            Some(place.cgroups.join(layout.top().path().trim_start_matches('/')))
        };
        Self {
            wanted: thresholds.iter().map(|threshold| threshold.signal).collect(),
            tops: [Driver::Systemd, Driver::Cgroupfs].into_iter().filter_map(top).collect(),
            place,
            stall,
            runtime,
            failed: BTreeSet::new(),
        }
    }

    /// Where the pods' top cgroup may be.
    pub(super) fn tops(&self) -> &[PathBuf] {
        &self.tops
    }

    /// Measures now. What cannot be measured is left out, and told once.
    pub(super) fn measure(&mut self) -> Observation {
        let mut left = BTreeMap::new();
        if self.wanted.contains(&Signal::MemoryAvailable) {
            let measured = memory::node(&self.place.proc.join("meminfo"));
            left.extend(self.told("memory", measured).map(|l| (Signal::MemoryAvailable, l)));
        }
        if self.wanted.contains(&Signal::AllocatableMemoryAvailable) {
            let measured = self.allocatable();
            let measured = self.told("memory of pods", measured).flatten();
            left.extend(measured.map(|l| (Signal::AllocatableMemoryAvailable, l)));
        }
        if let Some(stall) = self.stall {
            let measured = pressure::unstalled(&self.place.pressure(), stall);
            left.extend(self.told("memory pressure", measured).map(|l| (Signal::MemoryUnstalled, l)));
        }
        if self.wanted.contains(&Signal::PidAvailable) {
            let measured = pids::node(&self.place.proc);
            left.extend(self.told("process ids", measured).map(|l| (Signal::PidAvailable, l)));
        }
        let layout = if self.wanted.iter().any(|signal| is_of_a_disk(*signal)) {
            self.measure_disks(&mut left)
        } else {
            Layout::default()
        };
        Observation { left, layout }
    }

    fn told<T>(&mut self, what: &'static str, measured: Result<T, ReadError>) -> Option<T> {
        match measured {
            Ok(value) => {
                self.failed.remove(what);
                Some(value)
            }
            Err(error) => {
                if self.failed.insert(what) {
                    tracing::warn!(error = chain(&error), "{what} cannot be measured");
                }
                None
            }
        }
    }

    /// The least that any top cgroup has left: there is one, and perhaps an empty one of another time.
    fn allocatable(&self) -> Result<Option<Left>, ReadError> {
        let mut least: Option<Left> = None;
        for top in self.tops.iter().filter(|top| top.join("memory.max").exists()) {
            if let Some(left) = memory::cgroup(top)? {
                least = Some(least.map_or(left, |l| if left.available < l.available { left } else { l }));
            }
        }
        Ok(least)
    }

    fn measure_disks(&mut self, left: &mut BTreeMap<Signal, Left>) -> Layout {
        let (images, containers) = {
            let runtime = self.runtime.borrow();
            (runtime.image_filesystem.clone(), runtime.container_filesystem.clone())
        };
        let node = filesystem::measure(&self.place.root_dir);
        let Some(node) = self.told("the root directory's file system", node) else {
            return Layout::default();
        };
        let images = images.map(|path| filesystem::measure(&path));
        let images = images.and_then(|measured| self.told("the images' file system", measured));
        let containers = containers.map(|path| filesystem::measure(&path));
        let containers = containers.and_then(|measured| self.told("the containers' file system", measured));
        let device = |of: Option<filesystem::Measured>| of.map(|m| m.device);
        let layout = filesystem::layout(node.device, device(images), device(containers));
        let mut note = |bytes, inodes, measured: filesystem::Measured| {
            if self.wanted.contains(&bytes) {
                left.insert(bytes, measured.bytes);
            }
            if let Some(count) = measured.inodes.filter(|_| self.wanted.contains(&inodes)) {
                left.insert(inodes, count);
            }
        };
        note(Signal::NodefsAvailable, Signal::NodefsInodesFree, node);
        if let Some(images) = images {
            note(Signal::ImagefsAvailable, Signal::ImagefsInodesFree, images);
        }
        // With others on one file system the layers have their thresholds.
        if let Some(containers) = containers.filter(|_| layout.containers == Filesystem::Container) {
            note(Signal::ContainerfsAvailable, Signal::ContainerfsInodesFree, containers);
        }
        layout
    }
}

fn is_of_a_disk(signal: Signal) -> bool {
    signal.filesystem().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::eviction::Amount;

    #[test]
    fn this_machine_is_measured_as_far_as_there_are_thresholds() {
        let signals = [
            Signal::MemoryAvailable,
            Signal::NodefsAvailable,
            Signal::ImagefsAvailable,
            Signal::PidAvailable,
        ];
        let amount = Amount::parse("1").unwrap().unwrap();
        let thresholds = signals.map(|signal| Threshold { signal, amount, grace: None, reclaim: None });
        let state = RuntimeState { image_filesystem: Some("/proc".into()), ..RuntimeState::default() };
        let (sender, runtime) = watch::channel(state);
        let config = Config::default();
        let place = Place { proc: "/proc".into(), cgroups: "/nonexistent".into(), root_dir: "/".into() };
        let mut observer = Observer::new(&config, &thresholds, place.clone(), None, runtime.clone());
        let seen = observer.measure();
        assert_eq!(seen.left.keys().copied().collect::<Vec<_>>(), signals);
        assert!(seen.left[&Signal::NodefsAvailable].capacity > 0);
        assert_eq!(seen.layout, Layout { images: Filesystem::Image, containers: Filesystem::Image });
        sender.send_modify(|state| state.image_filesystem = Some("/nonexistent".into()));
        let seen = observer.measure();
        assert!(!seen.left.contains_key(&Signal::ImagefsAvailable));
        assert_eq!(seen.layout, Layout::default());
        assert_eq!(Observer::new(&config, &[], place, None, runtime).measure(), Observation::default());
    }
}
