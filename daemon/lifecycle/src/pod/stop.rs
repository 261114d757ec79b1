//! Stopping: containers first, all at once, then the sandboxes.

use std::time::Duration;

use super::{Pod, SandboxWork, Stage, Stop, outcome_unknown, retry_delay};
use crate::container::{self, ContainerKind, Work};
use crate::effect::{Call, Effect, EventType};
use crate::input::{Answer, Failure, FailureKind};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};

/// The runtime is never given less (behaviour.md 18.5).
const MIN_STOP_GRACE: Duration = Duration::from_secs(2);

/// How long after the end of the grace period a create or start without an answer is still waited for.
const MAKING_PATIENCE: Duration = Duration::from_secs(10);

impl Pod {
    pub(super) fn plan_stop(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Stage::Terminating(termination) = &self.stage else { return };
        let ends_at = termination.ends_at;
        let cause = termination.cause.clone();
        self.give_up_starts(ends_at, now, out);
        let Some(observation) = self.observation.take() else {
            if matches!(cause, super::Cause::Refused { .. }) {
                self.stage = Stage::Terminated(cause);
            }
            return;
        };
        // Even a stale observation is good enough to stop what it shows: a stop of what is gone does no harm.
        let running = self.stop_containers(&observation, ends_at, |_| Some("Stopping container"), now, out);
        let settled = !running && !self.is_making() && self.observing.is_none() && !self.stale;
        if settled
            && !self.stop_one_sandbox_in_time(&observation, now, out)
            && self.sandbox == SandboxWork::Idle
        {
            self.stage = Stage::Terminated(cause);
        }
        self.observation = Some(observation);
    }

    /// Ends what has not reached the runtime yet; a create or start that has is waited for, but not for ever.
    fn give_up_starts(&mut self, ends_at: Duration, now: Now, out: &mut Vec<Effect>) {
        if let SandboxWork::WaitingForSlot(op, _) = self.sandbox {
            out.push(Effect::ReturnSlot { op });
            self.sandbox = SandboxWork::Idle;
        }
        let give_up_at = ends_at + MAKING_PATIENCE;
        let overdue = now.boot >= give_up_at;
        if overdue && let SandboxWork::Running(op) = self.sandbox {
            out.extend([Effect::Cancel { op }, Effect::ReturnSlot { op }]);
            self.sandbox = SandboxWork::Idle;
            self.stale = true;
        }
        let mut stale = false;
        for slot in self.slots.values_mut() {
            match slot.work {
                Work::InspectingImage(op) | Work::PullingImage(op, _) => out.push(Effect::Cancel { op }),
                Work::WaitingForSlot(op, _) => out.push(Effect::ReturnSlot { op }),
                Work::Creating(op) | Work::Starting(op) if overdue => {
                    out.extend([Effect::Cancel { op }, Effect::ReturnSlot { op }]);
                    stale = true;
                }
                Work::Creating(_) | Work::Starting(_) | Work::Idle => continue,
            }
            slot.work = Work::Idle;
        }
        self.stale |= stale;
        if self.is_making() {
            self.wake_at(give_up_at);
        }
    }

    /// Stops each container that may run and that `unwanted` gives a reason for; tells whether any such is left.
    ///
    /// A stop under way is cancelled and issued again where the grace period has become shorter (behaviour.md 18.11).
    pub(super) fn stop_containers(
        &mut self,
        observation: &Observation,
        ends_at: Duration,
        unwanted: impl Fn(&Container) -> Option<&'static str>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        let mut left = false;
        for c in &observation.containers {
            if !matches!(c.state, ContainerState::Running | ContainerState::Unknown) {
                continue;
            }
            let Some(why) = unwanted(c) else { continue };
            left = true;
            let known = self.stops.get(&c.id).cloned();
            match &known {
                Some(Stop { op: Some(op), ends_at: told, .. }) => {
                    if *told <= ends_at {
                        continue;
                    }
                    out.push(Effect::Cancel { op: *op });
                }
                Some(Stop { retry_at: Some(at), .. }) if *at > now.boot => {
                    self.wake_at(*at);
                    continue;
                }
                _ => {}
            }
            if known.is_none() {
                let kind = container::specs(&self.pod).find(|(_, s)| s.name == c.name);
                let kind = kind.map_or(ContainerKind::Regular, |(kind, _)| kind);
                let message = if why == "definition changed" {
                    format!("Container {} definition changed, will be restarted", c.name)
                } else {
                    format!("Stopping container {}", c.name)
                };
                self.event(out, EventType::Normal, "Killing", message, Some((kind, &c.name)));
            }
            let left_over = ends_at.saturating_sub(now.boot);
            let grace = Duration::from_secs(left_over.as_secs() + u64::from(left_over.subsec_nanos() > 0));
            let grace = grace.max(MIN_STOP_GRACE);
            let op = self.call(out, Call::StopContainer { id: c.id.clone(), grace });
            self.stops.insert(c.id.clone(), Stop { op: Some(op), ends_at, retry_at: None });
        }
        left
    }

    pub(super) fn stop_answered(&mut self, id: &str, outcome: Result<Answer, Failure>, now: Now) {
        self.stale = true;
        let Some(stop) = self.stops.get_mut(id) else { return };
        stop.op = None;
        match outcome {
            Ok(_) => stop.retry_at = Some(now.boot + Duration::from_secs(1)),
            Err(f) if f.kind == FailureKind::NotFound => {
                stop.retry_at = Some(now.boot + Duration::from_secs(1))
            }
            Err(f) => {
                let seconds = if outcome_unknown(&f) { 1 } else { 2 };
                stop.retry_at = Some(now.boot + Duration::from_secs(seconds));
            }
        }
    }

    fn stop_one_sandbox_in_time(
        &mut self,
        observation: &Observation,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        if let Some(at) = self.sandbox_retry.filter(|at| *at > now.boot) {
            self.wake_at(at);
            return true;
        }
        self.stop_one_sandbox(observation, out)
    }

    /// Stops the next sandbox that the runtime has not acknowledged as stopped; tells whether one is left.
    ///
    /// A sandbox that is not ready is stopped too: it may still hold a network.
    pub(super) fn stop_one_sandbox(&mut self, observation: &Observation, out: &mut Vec<Effect>) -> bool {
        let Some(next) = observation.sandboxes.iter().find(|s| !self.stopped.contains(&s.id)) else {
            return false;
        };
        if self.sandbox == SandboxWork::Idle {
            let op = self.call(out, Call::StopSandbox { id: next.id.clone() });
            self.sandbox = SandboxWork::Stopping(op, next.id.clone());
        }
        true
    }

    /// The delay before the `failures`-th try of a teardown step.
    pub(super) fn teardown_delay(failures: u32) -> Duration {
        retry_delay(failures + 1, 10)
    }
}
