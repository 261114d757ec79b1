//! Liveness: when the faults are over, every pod reaches its goal within a bounded time, and a restart of the daemon then
//! changes nothing.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod as ApiPod, PodStatus};
use lifecycle::{ContainerKind, ContainerState, Origin, ProbeKind};

use crate::api::is_terminal;
use crate::calls::spec_of;
use crate::invariants::{Broken, Check, must};
use crate::workload::pods::GATE;
use crate::workload::{Deed, Key};
use crate::world::World;

/// The longest back-off, the longest grace period and the slowest retries, twice over.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// How often it is looked whether all is well.
const LOOK: Duration = Duration::from_secs(15);
/// Longer than anything that a script does by itself, but for its end.
const SCRIPTS_LAST: Duration = Duration::from_secs(60);
/// How often it is waited for all processes to be so old.
const RESTS: u32 = 4;
/// How long nothing may happen after a restart of the daemon: longer than an audit takes to come.
const REST: Duration = Duration::from_secs(70);

impl World {
    pub(crate) fn reach_the_goal(&mut self) -> Check {
        let calm = self.scenario.faults_until.max(self.scenario.span()) + Duration::from_secs(5);
        self.run_until(calm)?;
        self.every_pod_reaches_its_goal()?;
        self.a_restart_of_the_daemon_changes_nothing()
    }

    pub(crate) fn every_pod_reaches_its_goal(&mut self) -> Check {
        let end = self.time + PATIENCE;
        while let Some(missing) = self.missing() {
            if self.time >= end {
                return Err(Broken::new("every_pod_reaches_its_goal", missing));
            }
            let next = self.time + LOOK;
            self.run_until(next)?;
        }
        Ok(())
    }

    /// What is on the disk, in the runtime and in the API rebuilds what is in memory: a new daemon over a node at rest writes
    /// nothing and touches nothing (behaviour.md 41.1, 41.3, 41.4; design.md 2.5).
    fn a_restart_of_the_daemon_changes_nothing(&mut self) -> Check {
        for _ in 0..RESTS {
            let next = self.time + SCRIPTS_LAST;
            self.run_until(next)?;
            if self.is_at_rest() {
                break;
            }
        }
        if self.missing().is_some() || !self.is_at_rest() {
            // Something has happened by itself: this run comes to rest too late to be looked at.
            return Ok(());
        }
        let ended = |key: &Key| {
            let task = self.daemon.as_ref().and_then(|d| d.tasks.get(key));
            task.is_some_and(|t| is_terminal(t.machine.status().map(|s| &**s)))
        };
        let resized = self.workload.deeds.iter().any(|d| matches!(d.deed, Deed::Resize(..)));
        if self.files.iter().any(ended) || resized || self.anything_waits() {
            // Why a static pod has ended is known to nobody else: a new daemon may begin it anew, as a kubelet does. And what
            // the node said to a resize is asked for again.
            return Ok(());
        }
        self.exits = 0;
        self.kill_daemon(Duration::from_secs(2))?;
        let down = self.time + Duration::from_secs(1);
        self.run_until(down)?;
        self.changes_made = 0;
        let rested = self.time + REST;
        self.run_until(rested)?;
        let (changes, exits) = (self.changes_made, self.exits);
        must("a_restart_of_the_daemon_changes_nothing", changes == 0 || exits > 0, || {
            format!("{changes} writes and calls follow from a restart of the daemon alone")
        })?;
        let missing = self.missing();
        must("every_pod_reaches_its_goal", missing.is_none() || exits > 0, || {
            format!("after a restart of the daemon: {}", missing.unwrap_or_default())
        })
    }

    /// Whether nothing is being done, and nothing comes by itself.
    fn is_at_rest(&self) -> bool {
        self.calls.is_empty() && !self.anything_is_young()
    }

    /// Whether a process began so lately that its probes may yet change their mind by themselves.
    fn anything_is_young(&self) -> bool {
        let mut running = self.truths.values().flat_map(|t| t.runs.values()).filter(|run| run.is_running());
        running.any(|run| run.started.is_some_and(|at| self.time.saturating_sub(at) < SCRIPTS_LAST))
    }

    /// Whether a container of a pod that goes on is dead: its back-off, which a new daemon does not know, may hold it.
    fn anything_waits(&self) -> bool {
        let tasks = self.daemon.iter().flat_map(|d| &d.tasks);
        let mut going_on = tasks.filter(|(_, task)| !is_terminal(task.machine.status().map(|s| &**s)));
        going_on.any(|(key, task)| {
            let containers = self.runtime.pods.get(key).map(|p| p.containers.as_slice()).unwrap_or_default();
            let spec = task.machine.spec().spec.as_ref();
            let mut names = spec.into_iter().flat_map(|s| &s.containers).map(|c| &c.name);
            names.any(|name| {
                let newest = containers.iter().filter(|c| c.name == *name).max_by_key(|c| c.restart_count);
                newest.is_none_or(|c| c.state != ContainerState::Running)
            })
        })
    }

    /// What is not yet as it should be.
    fn missing(&self) -> Option<String> {
        let wanted = self.workload.pods.iter().map(|p| p.key);
        wanted.filter_map(|key| self.missing_of(key).map(|what| format!("pod {key}: {what}"))).next()
    }

    fn missing_of(&self, key: Key) -> Option<String> {
        let object = self.api.get(key);
        let wanted =
            self.files.contains(&key) || object.is_some_and(|o| o.pod.metadata.deletion_timestamp.is_none());
        let task = self.daemon.as_ref().and_then(|d| d.tasks.get(&key));
        let in_runtime = self.runtime.pods.get(&key);
        if !wanted {
            if let Some(left) = in_runtime.filter(|p| !p.is_nothing()) {
                return Some(format!("is gone from its source and has left {left:?}"));
            }
            return (object.is_some() || task.is_some()).then(|| "is to go and is still there".to_owned());
        }
        let Some(task) = task else { return Some("has no task".to_owned()) };
        let Some(status) = task.machine.status() else { return Some("has no status".to_owned()) };
        if task.origin == Origin::Api {
            let shown = object.and_then(|o| o.pod.status.as_ref());
            if crate::api::merged(shown, status) != *shown? {
                return Some("has another status in the API".to_owned());
            }
        }
        if is_terminal(Some(status)) {
            let quiet =
                in_runtime.is_none_or(|p| p.running().count() == 0 && p.sandboxes.iter().all(|s| !s.ready));
            return (!quiet).then(|| "has ended and something of it runs".to_owned());
        }
        self.missing_of_running(key, task.machine.spec(), status)
    }

    /// A pod that goes on: what should run does, and is ready as its probes say.
    fn missing_of_running(&self, key: Key, pod: &ApiPod, status: &PodStatus) -> Option<String> {
        let spec = pod.spec.as_ref()?;
        let mut all_ready = true;
        for (_, c) in podspec::containers(spec) {
            let (kind, _, policy) = spec_of(pod, &c.name)?;
            match self.container_goal(key, kind, c, &policy) {
                Ok(ready) => all_ready &= ready || kind == ContainerKind::Init,
                Err(missing) => return Some(format!("{}: {missing}", c.name)),
            }
        }
        let gate =
            |s: &PodStatus| s.conditions.iter().flatten().any(|c| c.type_ == GATE && c.status == "True");
        let object = self.api.get(key).and_then(|o| o.pod.status.as_ref());
        let gated = spec.readiness_gates.is_some() && !object.is_some_and(gate);
        let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        let should = all_ready && !gated;
        (ready != should).then(|| format!("is ready: {ready}, and should be: {should}"))
    }

    /// Whether the container is ready, where it is as it should be.
    fn container_goal(
        &self,
        key: Key,
        kind: ContainerKind,
        spec: &ContainerSpec,
        policy: &str,
    ) -> Result<bool, String> {
        let found = self.runtime.pods.get(&key).into_iter().flat_map(|p| &p.containers);
        let newest = found.filter(|c| c.name == spec.name).max_by_key(|c| c.restart_count);
        let Some(c) = newest else { return Err("was never made".to_owned()) };
        match c.state {
            ContainerState::Running => {
                let run = self.truths.get(&key).and_then(|t| t.runs.get(&c.id)).ok_or("nobody made it")?;
                let age = self.time.saturating_sub(run.started.unwrap_or_default());
                if run.image != spec.image.clone().unwrap_or_default() && kind != ContainerKind::Init {
                    return Err("runs an old image".to_owned());
                }
                let says = |kind| run.script.verdict(kind, age).0 == Some(true);
                let started = spec.startup_probe.is_none() || says(ProbeKind::Startup);
                Ok(started && (spec.readiness_probe.is_none() || says(ProbeKind::Readiness)))
            }
            ContainerState::Exited => {
                let failed = c.exit_code != 0 || (kind == ContainerKind::Init && c.reason == "OOMKilled");
                let again = match (kind, policy) {
                    (ContainerKind::Sidecar, _) => true,
                    (_, "Never") => false,
                    (_, "OnFailure") | (ContainerKind::Init, _) => failed,
                    _ => true,
                };
                let ruled = spec.restart_policy_rules.iter().flatten().any(|rule| {
                    rule.exit_codes.iter().any(|on| on.values.iter().flatten().any(|v| *v == c.exit_code))
                });
                if again || ruled {
                    Err(format!("has ended with {} and waits", c.exit_code))
                } else {
                    Ok(false)
                }
            }
            state => Err(format!("is {state:?}")),
        }
    }
}
