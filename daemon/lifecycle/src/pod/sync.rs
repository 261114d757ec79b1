//! The plan of a pod that is to run: admission, sandbox, then containers in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::sandbox::SandboxVerdict;
use super::stop::Order;
use super::{Admission, Cause, Pod};
use crate::container::{self, ContainerKind, Waiting};
use crate::effect::{Effect, EventType};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};
use crate::{phase, status};

impl Pod {
    pub(super) fn plan_sync(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.is_fresh() {
            return;
        }
        let Some(observation) = self.observation.take() else { return };
        self.plan_observed(&observation, now, out);
        // An answer never replaces the observation while it is lent out: the plan only asks.
        self.observation = Some(observation);
    }

    fn plan_observed(&mut self, observation: &Observation, now: Now, out: &mut Vec<Effect>) {
        match self.admission {
            Admission::NotAsked => {
                // What runs already was admitted by whoever started it (pains.md 5).
                let adopt = !observation.sandboxes.is_empty() || !observation.containers.is_empty();
                out.push(Effect::Admit { adopt });
                self.admission = if adopt { Admission::Admitted } else { Admission::Asked };
                if !adopt {
                    return;
                }
            }
            Admission::Asked => return,
            Admission::Admitted => {}
        }
        if self.end_at_deadline(now, out) {
            return;
        }
        let refused = self.refused_containers();
        if !refused.is_empty() && !observation.may_run() {
            let all = container::specs(&self.pod).map(|(_, c)| c.name.clone()).collect();
            self.refuse_fields(&all, out);
            return;
        }
        self.remove_cut_start(now, out);
        if phase::is_over(&self.pod, observation, &self.forced_restarts) {
            self.terminate(Cause::Completed, self.own_grace(), now);
            return;
        }
        match self.sandbox_verdict(observation) {
            SandboxVerdict::Keep(id) => {
                if self.plan_restart_of_all(observation, now, out) {
                    return;
                }
                self.remove_leftovers(observation, &id, now, out);
                self.plan_containers(observation, &id, now, out);
            }
            SandboxVerdict::New { attempt } => self.plan_new_sandbox(observation, attempt, now, out),
        }
    }

    /// `activeDeadlineSeconds`, counted from the start time (behaviour.md 4.16).
    fn end_at_deadline(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        let Some(limit) = self.pod.spec.as_ref().and_then(|s| s.active_deadline_seconds) else {
            return false;
        };
        let start = self.status.as_deref().or(self.pod.status.as_ref()).and_then(|s| s.start_time.as_ref());
        let Some(start) = start else { return false };
        let nanos = i64::try_from(start.0.as_nanosecond()).unwrap_or(i64::MAX);
        let due = now.boot_of(nanos) + Duration::from_secs(limit.max(0).unsigned_abs());
        if due > now.boot {
            self.wake_at(due);
            return false;
        }
        let message = status::DEADLINE_MESSAGE.to_owned();
        self.event(out, EventType::Normal, "DeadlineExceeded", message, None);
        self.terminate(Cause::DeadlineExceeded, self.own_grace(), now);
        true
    }

    /// The containers that are not started because they, or the pod, use what is not carried out; ephemeral ones hold up
    /// nothing but themselves and are not among them.
    fn refused_containers(&self) -> BTreeSet<String> {
        let whole = self.unsupported.iter().any(|(container, _)| container.is_none());
        container::specs(&self.pod)
            .filter(|(kind, spec)| {
                *kind != ContainerKind::Ephemeral && (whole || self.is_refused(&spec.name))
            })
            .map(|(_, spec)| spec.name.clone())
            .collect()
    }

    /// Whether a container uses what is not carried out.
    pub(super) fn is_refused(&self, name: &str) -> bool {
        self.unsupported.iter().any(|(container, _)| container.as_deref().is_none_or(|c| c == name))
    }

    /// Nothing is started without a field that is not carried out: the container waits and says so.
    fn refuse_fields(&mut self, names: &BTreeSet<String>, out: &mut Vec<Effect>) {
        for name in names {
            let mut paths: Vec<&str> = self
                .unsupported
                .iter()
                .filter(|(container, _)| container.as_ref().is_none_or(|c| c == name))
                .map(|(_, path)| path.as_str())
                .collect();
            if paths.is_empty() {
                paths = self.unsupported.iter().map(|(_, path)| path.as_str()).collect();
            }
            let message = format!("not supported by this version of nodelet: {}", paths.join(", "));
            let waiting = Waiting::new("CreateContainerConfigError", message.clone());
            let slot = self.slots.entry(name.clone()).or_default();
            if slot.waiting.replace(waiting.clone()) != Some(waiting) {
                self.event(out, EventType::Warning, "Failed", format!("Error: {message}"), Some(name));
            }
        }
    }

    fn plan_containers(&mut self, observation: &Observation, sandbox: &str, now: Now, out: &mut Vec<Effect>) {
        let pod = Arc::clone(&self.pod);
        let running = |c: &&Container| c.state == ContainerState::Running && c.sandbox_id == sandbox;
        let current: Vec<&Container> = observation.containers.iter().filter(running).collect();
        self.kill_changed(&current, now);
        // Before the kills: a resize may need a restart.
        self.plan_resize(observation, now, out);
        let kills = self.kills.clone();
        let ends_at = now.boot + self.own_grace();
        let unwanted = |c: &Container| -> Option<Order> {
            if let Some(kill) = kills.get(&c.id) {
                let message = kill.message.clone();
                return Some(Order { message, ends_at: kill.ends_at, hooks: kill.hooks, in_turn: false });
            }
            // Left over from an older sandbox or an older spec, or nobody knows what it does.
            let left_over = c.sandbox_id != sandbox
                || c.state == ContainerState::Unknown
                || container::spec_named(&pod, &c.name).is_none();
            left_over.then(|| Order { in_turn: false, ..Order::usual(c, ends_at) })
        };
        self.stop_containers(observation, unwanted, now, out);
        // What was begun by somebody who could carry it out stays as it is.
        let refused: BTreeSet<String> = container::specs(&pod)
            .filter(|(_, spec)| self.is_refused(&spec.name))
            .filter(|(_, spec)| {
                observation.newest_container(&spec.name).is_none_or(|c| c.state != ContainerState::Running)
            })
            .map(|(_, spec)| spec.name.clone())
            .collect();
        self.refuse_fields(&refused, out);
        if !self.volumes_mounted(now, out) {
            return;
        }

        let begun = container::specs(&pod).any(|(kind, spec)| {
            kind == ContainerKind::Regular
                && observation
                    .newest_container(&spec.name)
                    .is_some_and(|c| c.sandbox_id == sandbox && c.state != ContainerState::Created)
        });
        for (_, spec) in container::specs(&pod).filter(|(kind, _)| *kind == ContainerKind::Ephemeral) {
            let newest = observation.newest_container(&spec.name);
            self.drive(ContainerKind::Ephemeral, &spec, newest, (observation, sandbox), now, out);
        }
        for (kind, spec) in container::specs(&pod) {
            let newest = observation.newest_container(&spec.name);
            let here = newest.filter(|c| c.sandbox_id == sandbox);
            let seen = (observation, sandbox);
            match kind {
                // Finished inits are not run again while the sandbox lives (behaviour.md 11.3).
                ContainerKind::Init if begun => {}
                ContainerKind::Init if here.is_some_and(init_is_done) => {}
                ContainerKind::Init => return self.drive(kind, &spec, newest, seen, now, out),
                ContainerKind::Sidecar => {
                    self.drive(kind, &spec, newest, seen, now, out);
                    let up = here.is_some_and(|c| {
                        let idle = self.slots.get(&spec.name).is_none_or(|s| s.is_idle());
                        c.state == ContainerState::Running && idle && self.has_started(&spec, c)
                    });
                    if !up && !begun {
                        // What follows a sidecar relies on it (behaviour.md 11.6).
                        return;
                    }
                }
                ContainerKind::Regular => {
                    self.drive(kind, &spec, newest, seen, now, out);
                    let under_way = self.slots.get(&spec.name).is_some_and(|s| !s.is_idle());
                    let first = here.is_none_or(|c| c.restart_count == 0);
                    if first && under_way {
                        // Containers start in the order of the spec: the next one waits for this one and its postStart
                        // hook (behaviour.md 10.1, 10.3).
                        return;
                    }
                }
                ContainerKind::Ephemeral => {}
            }
        }
    }
}

/// Whether an init container has done its work.
fn init_is_done(c: &Container) -> bool {
    c.state == ContainerState::Exited && c.exit_code == 0 && c.reason != "OOMKilled"
}
