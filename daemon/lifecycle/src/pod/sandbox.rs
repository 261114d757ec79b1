//! The pod's sandbox: whether a new one is needed, and its way up and down (behaviour.md 7).

use std::borrow::Cow;

use super::stop::Order;
use super::{Cause, Pod, SandboxWork, Stage, outcome_unknown, retry_delay, total};
use crate::container;
use crate::effect::{Call, Effect, EventType, SlotClass};
use crate::input::{Answer, Failure, FailureKind};
use crate::now::Now;
use crate::observation::Observation;

/// What is to become of the pod's sandbox (behaviour.md 7.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SandboxVerdict {
    Keep(String),
    New { attempt: u32 },
}

impl Pod {
    pub(super) fn sandbox_verdict(&self, observation: &Observation) -> SandboxVerdict {
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
    pub(super) fn plan_new_sandbox(
        &mut self,
        observation: &Observation,
        attempt: u32,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let replaced = observation.sandboxes.iter().any(|s| !self.stopped.contains(&s.id));
        let begun = !self.stops.is_empty() || self.sandbox != SandboxWork::Idle;
        if replaced && !begun && self.sandbox_retry.is_none() {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.event(out, EventType::Normal, "SandboxChanged", message, None);
        }
        let ends_at = now.boot + self.own_grace();
        if self.stop_containers(observation, |c| Some(Order::usual(c, ends_at)), now, out) {
            return;
        }
        if let Some(at) = self.sandbox_retry.filter(|at| *at > now.boot) {
            self.wake_at(at);
            return;
        }
        if self.stop_one_sandbox(observation, out) || self.sandbox != SandboxWork::Idle {
            return;
        }
        if attempt > 0 && !observation.containers.is_empty() && !container::may_ever_restart(&self.pod) {
            // What ran once is not run again: the pod is over, however far it came.
            self.terminate(Cause::Completed, self.own_grace(), now);
            return;
        }
        if !self.volumes_mounted(now, out) {
            return;
        }
        let op = self.new_op();
        self.sandbox = SandboxWork::WaitingForSlot(op, attempt);
        out.push(Effect::AskSlot { op, class: SlotClass::Sandbox });
    }

    pub(super) fn sandbox_slot_granted(&mut self, attempt: u32, out: &mut Vec<Effect>, op: crate::OpId) {
        self.sandbox = SandboxWork::Running(op);
        let allowed = total::as_allowed(&self.pod, &self.resize);
        let allocated = matches!(allowed, Cow::Owned(_)).then(|| Box::new(total::of(&allowed)));
        out.push(Effect::Call { op, call: Call::RunSandbox { attempt, allocated } });
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
                let cap = if outcome_unknown(&failure) { 2 } else { 10 };
                self.sandbox_retry = Some(now.boot + retry_delay(self.sandbox_failures + 2, cap));
                let ending = !matches!(self.stage, Stage::Sync);
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
    pub(super) fn remove_cut_start(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.removing.is_some() || self.cut_starts.is_empty() || self.waits_to_remove(now) {
            return;
        }
        let Some(c) = self.cut_starts.first() else { return };
        let (id, name, restart_count) = (c.id.clone(), c.name.clone(), c.restart_count);
        self.remove(id, name, restart_count, false, out);
    }

    pub(super) fn remove(
        &mut self,
        id: String,
        name: String,
        restart_count: u32,
        keep_logs: bool,
        out: &mut Vec<Effect>,
    ) {
        let op = self.call(out, Call::RemoveContainer { id: id.clone(), name, restart_count, keep_logs });
        self.removing = Some((op, id));
    }
}
