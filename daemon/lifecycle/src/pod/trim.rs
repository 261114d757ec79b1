//! What of a pod is removed while the pod, or its object, stays: old containers and sandboxes, and what has no use any more where
//! the node needs its room (behaviour.md 40.2 to 40.4, 40.7).
//!
//! While the pod goes on the newest container of each name that was started stays, whatever is asked for: it says that the container has
//! run, and one that was only made does not, as its start may be cut off. Of a pod that is over the status says that, once the API server
//! has it: a daemon that begins anew would run the pod again. How an evicted pod ended is kept on the node besides, so that the room that
//! it was evicted for does not wait for the API server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use serde::{Deserialize, Serialize};

use super::{Cleanup, Pod, SandboxWork, Stage, retry_delay};
use crate::effect::{Call, Effect};
use crate::input::{Answer, Failure, FailureKind, Origin};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};

/// A container that cannot be removed is tried again this often at least.
const LONGEST_RETRY_SECONDS: u64 = 60;

/// How many dead containers a pod keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadContainers {
    /// Of each name, beside the newest container (`--maximum-dead-containers-per-container`).
    pub kept: usize,
    /// What was made less long ago stays in any case (`--minimum-container-ttl-duration`).
    pub min_age: Duration,
}

impl Default for DeadContainers {
    fn default() -> Self {
        Self { kept: 1, min_age: Duration::ZERO }
    }
}

/// What is being done about needless containers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Trim {
    /// Containers whose room the node wants: the runtime's ids.
    doomed: std::collections::BTreeSet<String>,
    /// Boot time before which no removal is tried, after one that failed.
    retry: Option<Duration>,
    failures: u32,
    /// The pod is over, and what the runtime has of it has begun to go: nothing new follows from a look.
    has_begun: bool,
    /// Whether the step under way removes the logs of a pod that stays.
    removes_logs: bool,
    logs_are_gone: bool,
}

impl Trim {
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Forgets what is gone.
    pub(super) fn forget_ended(&mut self, observation: &Observation) {
        self.doomed.retain(|id| observation.containers.iter().any(|c| c.id == *id));
    }

    pub(super) fn retry_now(&mut self) {
        self.retry = None;
    }
}

impl Pod {
    /// The node wants the room of these dead containers.
    pub(super) fn doom(&mut self, ids: Vec<String>) {
        self.trim.doomed.extend(ids);
    }

    /// Removes old sandboxes and needless containers, one call at a time.
    pub(super) fn remove_leftovers(
        &mut self,
        observation: &Observation,
        current: &str,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if self.removing.is_none()
            && !self.waits_to_remove(now)
            && let Some(c) = self.surplus(observation, now)
        {
            self.remove(c.id.clone(), c.name.clone(), c.restart_count, false, out);
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

    /// A container that is not needed while the pod goes on; one that will be when it is old enough is waited for.
    pub(super) fn surplus<'a>(&mut self, observation: &'a Observation, now: Now) -> Option<&'a Container> {
        let DeadContainers { kept, min_age } = self.settings.dead_containers;
        let mut first_due: Option<Duration> = None;
        for name in self.slots.keys() {
            let mut begun = observation.containers_named(name);
            begun.retain(|c| c.state != ContainerState::Created);
            // Behind the newest, the oldest first.
            for (place, c) in begun.into_iter().enumerate().skip(1).rev() {
                let is_doomed = self.trim.doomed.contains(&c.id);
                if c.state != ContainerState::Exited || (place <= kept && !is_doomed) {
                    continue;
                }
                let due = if is_doomed { Duration::ZERO } else { now.boot_of(c.created_at) + min_age };
                if due <= now.boot {
                    return Some(c);
                }
                first_due = Some(first_due.map_or(due, |first| first.min(due)));
            }
        }
        if let Some(due) = first_due {
            self.wake_at(due);
        }
        None
    }

    /// Whether a removal that failed is to be tried later only.
    pub(super) fn waits_to_remove(&mut self, now: Now) -> bool {
        let Some(at) = self.trim.retry.filter(|at| *at > now.boot) else { return false };
        self.wake_at(at);
        true
    }

    pub(super) fn removal_answered(&mut self, outcome: &Result<Answer, Failure>, now: Now) {
        self.removing = None;
        self.stale = true;
        let failed = outcome.as_ref().is_err_and(|f| f.kind != FailureKind::NotFound);
        self.trim.failures = if failed { self.trim.failures + 1 } else { 0 };
        let delay = retry_delay(self.trim.failures, LONGEST_RETRY_SECONDS);
        self.trim.retry = failed.then(|| now.boot + delay);
    }

    /// Whether the pod was evicted: its containers take up the room that it was evicted for.
    fn is_evicted(&self) -> bool {
        self.status
            .as_ref()
            .is_some_and(|s| s.phase.as_deref() == Some("Failed") && s.reason.as_deref() == Some("Evicted"))
    }

    /// Whether an evicted pod still has some of what it was evicted for.
    pub fn holds_room(&self) -> bool {
        self.is_evicted() && self.needless().is_some()
    }

    /// What the machine after this one is to know before anything goes of an evicted pod that the API server may not know of yet.
    pub(super) fn eviction_to_keep(&self) -> Option<Arc<PodStatus>> {
        let is_over = matches!(self.stage, Stage::Terminated(_)) && !self.cleanup.is_due_at_once();
        let is_to_know = self.origin == Origin::Api && is_over && self.is_evicted();
        self.status.as_ref().filter(|_| is_to_know).map(Arc::clone)
    }

    /// What goes next of a pod that is over and whose object stays.
    pub(super) fn needless(&self) -> Option<Call> {
        if !matches!(self.stage, Stage::Terminated(_)) || self.cleanup != Cleanup::Dirs {
            return None;
        }
        let evicted = self.is_evicted();
        let observation = self.observation.as_ref()?;
        let mut containers = observation.containers.iter();
        if let Some(c) = containers.find(|c| evicted || self.trim.doomed.contains(&c.id)) {
            return Some(Call::RemoveContainer {
                id: c.id.clone(),
                name: c.name.clone(),
                restart_count: c.restart_count,
                keep_logs: false,
            });
        }
        if (evicted || self.trim.has_begun)
            && observation.containers.is_empty()
            && let Some(sandbox) = observation.sandboxes.first()
        {
            return Some(Call::RemoveSandbox { id: sandbox.id.clone() });
        }
        (evicted && !self.trim.logs_are_gone).then_some(Call::RemoveDirs { logs: true })
    }

    /// A removal of something needless begins.
    pub(super) fn begin_needless(&mut self, call: &Call) {
        self.trim.has_begun = true;
        self.trim.removes_logs = matches!(call, Call::RemoveDirs { .. });
    }

    /// Whether the step that has ended removed logs of a pod that stays, rather than being one of its last.
    pub(super) fn logs_went(&mut self, done: bool) -> bool {
        let was_it = std::mem::take(&mut self.trim.removes_logs);
        self.trim.logs_are_gone |= was_it && done;
        was_it
    }
}
