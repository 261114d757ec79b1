//! Stopping: containers first, then the sandboxes.
//!
//! One container:
//!
//! ```text
//!   (killed) -> Hook -> Turn -> Stopping -> ended
//!                 |       ^        |
//!                 |       |        v
//!                 |       '----- Again (the call failed, or the grace period has become shorter)
//!                 '-- the grace period is over: the hook is not waited for any more
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Pod, SandboxWork, Stage, order, outcome_unknown, retry_delay};
use crate::container::{self, Work};
use crate::effect::{Call, Effect, EventType, Hook, OpId};
use crate::input::{Answer, Failure, FailureKind};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};

/// The runtime is never given less (behaviour.md 18.5).
const MIN_STOP_GRACE: Duration = Duration::from_secs(2);

/// How long after the end of the grace period a create or start without an answer is still waited for.
const MAKING_PATIENCE: Duration = Duration::from_secs(10);

/// A stop of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    step: Step,
    /// Boot time at which the grace period is over.
    ends_at: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// Its preStop hook runs.
    Hook(OpId),
    /// It waits for those that are stopped before it.
    Turn,
    /// The runtime stops it.
    Stopping(OpId),
    /// The runtime is asked again at this boot time.
    Again(Duration),
}

impl Stop {
    pub(super) fn op(&self) -> Option<OpId> {
        match self.step {
            Step::Hook(op) | Step::Stopping(op) => Some(op),
            Step::Turn | Step::Again(_) => None,
        }
    }

    pub(super) fn retry_now(&mut self) {
        if let Step::Again(_) = self.step {
            self.step = Step::Turn;
        }
    }
}

/// How a container is to be stopped.
pub(super) struct Order {
    /// For the `Killing` event.
    pub(super) message: String,
    /// Boot time at which its grace period is over.
    pub(super) ends_at: Duration,
    /// Whether its preStop hook runs first.
    pub(super) hooks: bool,
    /// Whether sidecars wait for the others.
    pub(super) in_turn: bool,
}

impl Order {
    /// As every container of a pod is stopped.
    pub(super) fn usual(c: &Container, ends_at: Duration) -> Self {
        let message = format!("Stopping container {}", c.name);
        Self { message, ends_at, hooks: true, in_turn: true }
    }
}

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
        let running = self.stop_containers(&observation, |c| Some(Order::usual(c, ends_at)), now, out);
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
        self.give_up_mounting(out);
        self.give_up_update(out);
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
        self.give_up_waiting(out);
        let mut stale = false;
        for slot in self.slots.values_mut().filter(|_| overdue) {
            if let Work::Creating(op) | Work::Starting(op, _) = slot.work {
                out.extend([Effect::Cancel { op }, Effect::ReturnSlot { op }]);
                slot.work = Work::Idle;
                stale = true;
            }
        }
        self.stale |= stale;
        if self.is_making() {
            self.wake_at(give_up_at);
        }
    }

    /// Stops each container that may run and that `order` is given for; tells whether any such is left.
    ///
    /// A stop under way is cancelled and issued again where the grace period has become shorter (behaviour.md 18.11).
    pub(super) fn stop_containers(
        &mut self,
        observation: &Observation,
        order: impl Fn(&Container) -> Option<Order>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        let mut left = false;
        for c in &observation.containers {
            if !matches!(c.state, ContainerState::Running | ContainerState::Unknown) {
                continue;
            }
            let Some(order) = order(c) else { continue };
            left = true;
            self.stop_container(observation, c, &order, now, out);
        }
        left
    }

    fn stop_container(
        &mut self,
        observation: &Observation,
        c: &Container,
        order: &Order,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let mut stop = match self.stops.remove(&c.id) {
            Some(stop) => stop,
            None => {
                self.event(out, EventType::Normal, "Killing", order.message.clone(), Some(&c.name));
                self.begin_stop(observation, c, order, now, out)
            }
        };
        if order.ends_at < stop.ends_at {
            stop.ends_at = order.ends_at;
            if let Step::Stopping(op) = stop.step {
                out.push(Effect::Cancel { op });
                stop.step = Step::Turn;
            }
        }
        if let Step::Hook(op) = stop.step {
            if stop.ends_at <= now.boot {
                out.push(Effect::Cancel { op });
                stop.step = Step::Turn;
            } else {
                self.wake_at(stop.ends_at);
            }
        }
        let waits = order.in_turn && !order::is_its_turn(&self.pod, observation, c);
        match stop.step {
            Step::Turn if waits && stop.ends_at > now.boot => self.wake_at(stop.ends_at),
            Step::Again(at) if at > now.boot => self.wake_at(at),
            Step::Turn | Step::Again(_) => {
                let grace = whole_seconds(stop.ends_at.saturating_sub(now.boot)).max(MIN_STOP_GRACE);
                let op = self.call(out, Call::StopContainer { id: c.id.clone(), grace });
                stop.step = Step::Stopping(op);
            }
            Step::Hook(_) | Step::Stopping(_) => {}
        }
        self.stops.insert(c.id.clone(), stop);
    }

    fn begin_stop(
        &mut self,
        observation: &Observation,
        c: &Container,
        order: &Order,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Stop {
        // Of what no spec has any more, the runtime tells (behaviour.md 18.9).
        let hooked = match container::spec_named(&self.pod, &c.name) {
            Some((_, spec)) => spec.lifecycle.as_ref().is_some_and(|l| l.pre_stop.is_some()),
            None => c.pre_stop,
        };
        let in_time = order.hooks && order.ends_at > now.boot && c.state == ContainerState::Running;
        if !hooked || !in_time {
            return Stop { step: Step::Turn, ends_at: order.ends_at };
        }
        let pod_ips = match observation.newest_sandbox() {
            Some(sandbox) if sandbox.host_network => self.host_ips.clone(),
            Some(sandbox) => sandbox.ips.clone(),
            None => Vec::new(),
        };
        let call = Call::RunHook { id: c.id.clone(), name: c.name.clone(), hook: Hook::PreStop, pod_ips };
        let op = self.call(out, call);
        Stop { step: Step::Hook(op), ends_at: order.ends_at }
    }

    pub(super) fn stop_answered(
        &mut self,
        id: &str,
        outcome: Result<Answer, Failure>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(mut stop) = self.stops.remove(id) else { return };
        if let Step::Hook(_) = stop.step {
            let named = self.observation.as_ref().and_then(|o| o.containers.iter().find(|c| c.id == id));
            let name = named.map(|c| c.name.clone());
            if outcome.is_err() {
                let message = "PreStopHook failed".to_owned();
                self.event(out, EventType::Warning, "FailedPreStopHook", message, name.as_deref());
            }
            stop.step = Step::Turn;
        } else if outcome.is_ok() && self.has_ended(id) {
            // The runtime's event was quicker, and so was the look that it brought.
            return;
        } else {
            self.stale = true;
            let seconds = match outcome {
                Err(f) if f.kind != FailureKind::NotFound && !outcome_unknown(&f) => 2,
                _ => 1,
            };
            stop.step = Step::Again(now.boot + Duration::from_secs(seconds));
        }
        self.stops.insert(id.to_owned(), stop);
    }

    /// Whether the observation shows the end of this container.
    fn has_ended(&self, id: &str) -> bool {
        let seen = self.observation.as_ref();
        seen.is_some_and(|o| o.containers.iter().any(|c| c.id == id && c.state == ContainerState::Exited))
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

/// What is left of a grace period: whole seconds that a hook took are off it, parts are not (behaviour.md 18.2).
fn whole_seconds(left: Duration) -> Duration {
    Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}
