//! The plan of a pod that is to run: admission, sandbox, then containers in order.

use std::time::Duration;

use super::{Admission, Cause, Pod, SandboxWork};
use crate::container::{self, ContainerKind, Waiting};
use crate::effect::{Call, Effect, EventType, SlotClass};
use crate::input::{Answer, Failure, FailureKind};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};
use crate::{phase, status};

/// What is to become of the pod's sandbox (behaviour.md 7.1).
#[derive(Debug, PartialEq, Eq)]
enum SandboxVerdict {
    Keep(String),
    New { attempt: u32 },
}

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
        if !self.unsupported.is_empty() && !observation.may_run() {
            self.refuse_fields(out);
            return;
        }
        self.remove_cut_start(out);
        if phase::is_over(&self.pod, observation, &self.forced_restarts) {
            self.terminate(Cause::Completed, self.own_grace(), now);
            return;
        }
        match self.sandbox_verdict(observation) {
            SandboxVerdict::Keep(id) => {
                self.remove_leftovers(observation, &id, out);
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

    /// Nothing is started without a field that is not carried out: the pod waits and says so.
    fn refuse_fields(&mut self, out: &mut Vec<Effect>) {
        let told = std::mem::replace(&mut self.unsupported_told, true);
        let names: Vec<_> = container::specs(&self.pod).map(|(k, c)| (k, c.name.clone())).collect();
        for (kind, name) in names {
            let mut paths: Vec<&str> = self
                .unsupported
                .iter()
                .filter(|(container, _)| container.as_ref().is_none_or(|c| *c == name))
                .map(|(_, path)| path.as_str())
                .collect();
            if paths.is_empty() {
                paths = self.unsupported.iter().map(|(_, path)| path.as_str()).collect();
            }
            let message = format!("not supported by this version of nodelet: {}", paths.join(", "));
            if !told {
                self.event(
                    out,
                    EventType::Warning,
                    "Failed",
                    format!("Error: {message}"),
                    Some((kind, &name)),
                );
            }
            let slot = self.slots.entry((kind, name)).or_default();
            slot.waiting = Some(Waiting { reason: "CreateContainerConfigError", message });
        }
    }

    fn sandbox_verdict(&self, observation: &Observation) -> SandboxVerdict {
        let host_network = self.pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
        let Some(newest) = observation.newest_sandbox() else { return SandboxVerdict::New { attempt: 0 } };
        let ready = observation.sandboxes.iter().filter(|s| s.ready).count();
        let fits = newest.host_network == host_network && (host_network || !newest.ips.is_empty());
        if ready == 1 && newest.ready && fits {
            return SandboxVerdict::Keep(newest.id.clone());
        }
        let highest = observation.sandboxes.iter().map(|s| s.attempt).max().unwrap_or(0);
        SandboxVerdict::New { attempt: highest.saturating_add(1) }
    }

    /// Clears what is left of older sandboxes, then runs a new one (behaviour.md 7.2, 7.3).
    fn plan_new_sandbox(&mut self, observation: &Observation, attempt: u32, now: Now, out: &mut Vec<Effect>) {
        let replaced = observation.sandboxes.iter().any(|s| !self.stopped.contains(&s.id));
        let begun = !self.stops.is_empty() || self.sandbox != SandboxWork::Idle;
        if replaced && !begun && self.sandbox_retry.is_none() {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.event(out, EventType::Normal, "SandboxChanged", message, None);
        }
        let ends_at = now.boot + self.own_grace().max(Duration::from_secs(1));
        if self.stop_containers(observation, ends_at, |_| Some("Stopping container"), now, out) {
            return;
        }
        if let Some(at) = self.sandbox_retry.filter(|at| *at > now.boot) {
            self.wake_at(at);
            return;
        }
        if self.stop_one_sandbox(observation, out) || self.sandbox != SandboxWork::Idle {
            return;
        }
        let never = container::restart_policy(&self.pod) == "Never";
        if never && attempt > 0 && !observation.containers.is_empty() {
            // What ran once is not run again; the phase follows from how it ended.
            return;
        }
        let op = self.new_op();
        self.sandbox = SandboxWork::WaitingForSlot(op, attempt);
        out.push(Effect::AskSlot { op, class: SlotClass::Sandbox });
    }

    pub(super) fn sandbox_slot_granted(&mut self, attempt: u32, out: &mut Vec<Effect>, op: crate::OpId) {
        self.sandbox = SandboxWork::Running(op);
        out.push(Effect::Call { op, call: Call::RunSandbox { attempt } });
    }

    pub(super) fn sandbox_answered(
        &mut self,
        outcome: Result<Answer, Failure>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.stale = true;
        let work = std::mem::take(&mut self.sandbox);
        if let SandboxWork::Running(op) = work {
            out.push(Effect::ReturnSlot { op });
        }
        match (work, outcome) {
            (SandboxWork::Stopping(_, id), Ok(_)) => {
                self.stopped.insert(id);
                self.sandbox_failures = 0;
                self.sandbox_retry = None;
            }
            (SandboxWork::Stopping(_, id), Err(f)) if f.kind == FailureKind::NotFound => {
                self.stopped.insert(id);
            }
            (_, Ok(_)) => {
                self.sandbox_failures = 0;
                self.sandbox_retry = None;
            }
            (work, Err(failure)) => {
                self.sandbox_failures += 1;
                let cap = if super::outcome_unknown(&failure) { 2 } else { 10 };
                self.sandbox_retry = Some(now.boot + super::retry_delay(self.sandbox_failures + 2, cap));
                let ending = !matches!(self.stage, super::Stage::Sync);
                if matches!(work, SandboxWork::Running(_)) && !ending {
                    let message = format!("Failed to create pod sandbox: {}", failure.message);
                    self.event(out, EventType::Warning, "FailedCreatePodSandBox", message, None);
                } else if matches!(work, SandboxWork::Stopping(..)) {
                    let message = format!("error killing pod: {}", failure.message);
                    self.event(out, EventType::Warning, "FailedKillPod", message, None);
                }
            }
        }
    }

    /// A start that was cut off did not happen: what it left goes, and the container is made again under the same count.
    fn remove_cut_start(&mut self, out: &mut Vec<Effect>) {
        let Some(c) = self.cut_starts.first().filter(|_| self.removing.is_none()) else { return };
        let (id, name) = (c.id.clone(), c.name.clone());
        let call = Call::RemoveContainer { id: id.clone(), name, restart_count: c.restart_count };
        let op = self.call(out, call);
        self.removing = Some((op, id));
    }

    /// Removes old sandboxes and all but the newest two containers of each name, one call at a time.
    fn remove_leftovers(&mut self, observation: &Observation, current: &str, out: &mut Vec<Effect>) {
        if self.removing.is_none() {
            let names: Vec<String> = self.slots.keys().map(|(_, name)| name.clone()).collect();
            let surplus = names.iter().find_map(|name| {
                let old = observation.containers_named(name);
                old.into_iter().skip(2).find(|c| c.state == ContainerState::Exited)
            });
            if let Some(c) = surplus {
                let call = Call::RemoveContainer {
                    id: c.id.clone(),
                    name: c.name.clone(),
                    restart_count: c.restart_count,
                };
                let op = self.call(out, call);
                self.removing = Some((op, c.id.clone()));
            }
        }
        if self.sandbox != SandboxWork::Idle {
            return;
        }
        let empty = |id: &str| !observation.containers.iter().any(|c| c.sandbox_id == id);
        let old = observation.sandboxes.iter().find(|s| s.id != current && !s.ready && empty(&s.id));
        if let Some(old) = old {
            let op = self.call(out, Call::RemoveSandbox { id: old.id.clone() });
            self.sandbox = SandboxWork::Removing(op, old.id.clone());
        }
    }

    fn plan_containers(&mut self, observation: &Observation, sandbox: &str, now: Now, out: &mut Vec<Effect>) {
        let pod = std::sync::Arc::clone(&self.pod);
        let ends_at = now.boot + self.own_grace().max(Duration::from_secs(1));
        let unwanted = |c: &Container| -> Option<&'static str> {
            let spec = container::specs(&pod).find(|(_, s)| s.name == c.name);
            match spec {
                // Left over from an older sandbox or an older spec.
                None => Some("Stopping container"),
                Some(_) if c.sandbox_id != sandbox || c.state == ContainerState::Unknown => {
                    Some("Stopping container")
                }
                Some((ContainerKind::Regular, s)) => {
                    let changed = c.hash.as_ref().is_some_and(|hash| *hash != podspec::container_hash(s));
                    changed.then_some("definition changed")
                }
                Some(_) => None,
            }
        };
        for c in observation.containers.iter().filter(|c| c.state == ContainerState::Running) {
            if unwanted(c) == Some("definition changed") {
                self.forced_restarts.insert(c.id.clone());
            }
        }
        self.stop_containers(observation, ends_at, unwanted, now, out);

        let begun = container::specs(&pod).any(|(kind, spec)| {
            kind == ContainerKind::Regular
                && observation
                    .newest_container(&spec.name)
                    .is_some_and(|c| c.sandbox_id == sandbox && c.state != ContainerState::Created)
        });
        for (kind, spec) in container::specs(&pod) {
            let newest = observation.newest_container(&spec.name);
            let here = newest.filter(|c| c.sandbox_id == sandbox);
            if kind == ContainerKind::Init {
                if begun {
                    // Finished inits are not run again while the sandbox lives (behaviour.md 11.3).
                    continue;
                }
                if here.is_some_and(|c| c.state == ContainerState::Exited && c.exit_code == 0) {
                    continue;
                }
                self.drive(kind, spec, newest, sandbox, now, out);
                return;
            }
            let first = here.is_none();
            self.drive(kind, spec, newest, sandbox, now, out);
            let slot = self.slots.get(&(kind, spec.name.clone()));
            let under_way = slot.is_some_and(|s| !s.is_idle());
            if first && under_way {
                // Containers start in the order of the spec: the next one waits for this one (behaviour.md 10.1).
                return;
            }
        }
    }
}
