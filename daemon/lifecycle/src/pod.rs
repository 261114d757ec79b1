//! The pod machine.
//!
//! ```text
//!   Assigned -> [observe] -> Sync --------------------------------> Terminating ----------> Terminated -> Finished
//!                            | admission, sandbox, inits, regulars  | starts given up       | status acknowledged
//!                            | restarts, images, back-off           | containers stopped    | directories, object
//!                            '- each from a fresh observation       | sandboxes stopped     | containers, sandboxes
//! ```
//!
//! States never go back. Each step takes one input, plans as far as the observation carries, and publishes the status if
//! it changed. Work that waits for a time leaves it in `wake`, which [`Pod::next_wake`] tells.

mod cleanup;
mod kill;
mod observed;
mod order;
mod probes;
mod resize;
pub(crate) mod restart_all;
mod sandbox;
mod start;
mod stop;
mod sync;
pub(crate) mod total;
mod trim;
mod volumes;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus};
use serde::{Deserialize, Serialize};

use crate::backoff::Curve;
use crate::container::{self, ContainerKind, Slot};
use crate::effect::{Call, Deadline, Effect, Event, EventType, Kept, OpId, ProbeTarget};
use crate::input::{Answer, Assignment, Failure, FailureKind, Input, Origin};
use crate::now::Now;
use crate::observation::{Container, Observation};
use crate::status;
use crate::unsupported::{self, Supported};
pub(crate) use kill::Kill;
pub(crate) use resize::Resize;
use stop::Stop;
pub use trim::DeadContainers;
use trim::Trim;
use volumes::Volumes;
pub use why::Wait;

/// What the node's configuration says about all pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Longest delay between restarts of a failing container (`crashLoopBackOff.maxContainerRestartPeriod`), 1 s to 300 s.
    pub max_restart_period: Duration,
    /// `containerd`, say: stands before container ids in the status.
    pub runtime_name: String,
    /// What the daemon can carry out beside containers: pods that need more wait.
    pub supported: Supported,
    /// Whether pods get shares of the node's swap (`memorySwap.swapBehavior: LimitedSwap`).
    #[serde(default)]
    pub limited_swap: bool,
    /// What stays of containers that have ended.
    #[serde(default)]
    pub dead_containers: DeadContainers,
}

/// Why a pod is brought to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// All its containers have ended for good.
    Completed,
    /// Its object has a deletion timestamp.
    Deleted,
    /// Its source has it no more.
    Removed,
    /// The API says that it is over.
    AlreadyTerminal,
    /// The node refused it.
    Refused { reason: String, message: String },
    /// `activeDeadlineSeconds` have passed.
    DeadlineExceeded,
    /// Evicted, preempted, or the node goes down.
    Killed { reason: String, message: String, disrupts: bool },
}

/// The way to the end of a pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Termination {
    pub(crate) cause: Cause,
    /// Boot time at which the grace period is over; only ever moved forward in time towards the present.
    pub(crate) ends_at: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    Sync,
    Terminating(Termination),
    Terminated(Cause),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Admission {
    NotAsked,
    Asked,
    Admitted,
}

/// What is being done about the pod's sandboxes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum SandboxWork {
    #[default]
    Idle,
    /// A start slot is asked for; the attempt that will be run.
    WaitingForSlot(OpId, u32),
    Running(OpId),
    Stopping(OpId, String),
    Removing(OpId, String),
}

/// What is still to be removed once nothing runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Cleanup {
    Volumes,
    Cgroup,
    Dirs,
    Object,
    Containers,
    Sandboxes,
    Logs,
    Done,
}

/// What a pod gets that nobody knows anything of (behaviour.md 4.14).
const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// One pod on this node; see the module's page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pod {
    settings: Arc<Settings>,
    origin: Origin,
    pod: Arc<ApiPod>,
    host_ips: Vec<String>,
    unsupported: Vec<(Option<String>, String)>,
    next_op: u64,
    stage: Stage,
    admission: Admission,

    observation: Option<Observation>,
    observing: Option<OpId>,
    /// Whether something has happened since the last observation was begun.
    stale: bool,
    observe_retry: Option<Duration>,
    observe_failures: u32,

    sandbox: SandboxWork,
    sandbox_retry: Option<Duration>,
    sandbox_failures: u32,
    /// Sandboxes that the runtime has acknowledged as stopped.
    stopped: BTreeSet<String>,
    volumes: Volumes,
    /// Whether something that files are made of has changed since their making was last begun.
    #[serde(default)]
    volumes_stale: bool,
    /// By the container's name.
    /// Boxed: a map of few entries makes room for many.
    slots: BTreeMap<String, Box<Slot>>,
    /// By the container's id.
    stops: BTreeMap<String, Stop>,
    /// Running containers that are to end while the pod goes on, by id.
    kills: BTreeMap<String, Kill>,
    /// Containers that must start again whatever their policy says, because their definition changed.
    forced_restarts: BTreeSet<String>,
    removing: Option<(OpId, String)>,
    #[serde(default)]
    trim: Trim,
    /// Containers of which nothing ever ran, because the daemon that started them was killed meanwhile.
    cut_starts: Vec<Container>,
    resize: Resize,
    /// What is being probed.
    probed: Vec<ProbeTarget>,

    cleanup: Cleanup,
    cleanup_op: Option<OpId>,
    /// The container or sandbox that `cleanup_op` removes: the runtime's id.
    cleanup_id: Option<String>,
    cleanup_retry: Option<Duration>,
    cleanup_failures: u32,
    finished: bool,

    status: Option<Arc<PodStatus>>,
    version: u64,
    acknowledged: u64,
    /// Whether the API has no such object (any more).
    gone: bool,
    /// Whether the source has it no more, whatever brought it to its end before.
    removed: bool,
    kept: Kept,
    wake: Option<Duration>,
}

impl Pod {
    /// A machine for `assignment`; the first [`Pod::step`] should bring it an input.
    pub fn new(settings: Arc<Settings>, assignment: Assignment, host_ips: Vec<String>) -> Self {
        let mut machine = Self {
            settings,
            origin: assignment.origin,
            pod: Arc::clone(&assignment.pod),
            host_ips,
            unsupported: Vec::new(),
            next_op: 0,
            stage: Stage::Sync,
            admission: Admission::NotAsked,
            observation: None,
            observing: None,
            stale: true,
            observe_retry: None,
            observe_failures: 0,
            sandbox: SandboxWork::Idle,
            sandbox_retry: None,
            sandbox_failures: 0,
            stopped: BTreeSet::new(),
            volumes: Volumes::default(),
            volumes_stale: false,
            slots: BTreeMap::new(),
            stops: BTreeMap::new(),
            kills: BTreeMap::new(),
            forced_restarts: BTreeSet::new(),
            removing: None,
            trim: Trim::default(),
            cut_starts: Vec::new(),
            resize: Resize::new(&assignment.kept),
            probed: Vec::new(),
            cleanup: Cleanup::Volumes,
            cleanup_op: None,
            cleanup_id: None,
            cleanup_retry: None,
            cleanup_failures: 0,
            finished: false,
            status: None,
            version: 0,
            acknowledged: 0,
            gone: assignment.origin == Origin::Orphan,
            removed: false,
            kept: assignment.kept,
            wake: None,
        };
        machine.take_spec(assignment.pod);
        machine
    }

    /// Takes one input at `now` and tells what is to be done.
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        self.wake = None;
        self.take(input, now, &mut out);
        self.plan(now, &mut out);
        self.publish(now, &mut out);
        self.tell_probes(&mut out);
        self.keep(now, &mut out);
        out
    }

    /// The boot time at which [`Input::Tick`] is due, if any.
    pub fn next_wake(&self) -> Option<Duration> {
        self.wake
    }

    /// The pod as it was last assigned.
    pub fn spec(&self) -> &Arc<ApiPod> {
        &self.pod
    }

    /// The last status that was published.
    pub fn status(&self) -> Option<&Arc<PodStatus>> {
        self.status.as_ref()
    }

    /// The number of the last status that was published, 0 before the first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What the runtime was last seen to have of the pod.
    pub fn observation(&self) -> Option<&Observation> {
        self.observation.as_ref()
    }

    /// Whether nothing is left to do for this pod, ever.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether the pod is on its way to the end, or has come there.
    pub fn is_ending(&self) -> bool {
        !matches!(self.stage, Stage::Sync)
    }

    /// Whether no container of the pod can run any more.
    pub fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Terminated(_))
    }

    /// Whether nothing of the pod runs any more, its volumes are unmounted and its cgroup is gone.
    pub fn is_settled(&self) -> bool {
        self.is_terminated() && !self.cleanup.is_due_at_once()
    }

    /// Boot time at which the grace of a pod that is ending is over.
    pub fn ends_at(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Terminating(t) => Some(t.ends_at),
            Stage::Sync | Stage::Terminated(_) => None,
        }
    }

    fn take_spec(&mut self, pod: Arc<ApiPod>) {
        self.unsupported = unsupported::unsupported_fields(&pod, self.settings.supported);
        self.metadata_changed(&pod);
        self.resize.spec_changed(&self.pod, &pod);
        for (_, spec) in container::specs(&pod) {
            let key = container::restart_key(&spec);
            let slot = match self.slots.get_mut(&spec.name) {
                Some(slot) => slot,
                None => self.slots.entry(spec.name.clone()).or_default(),
            };
            if slot.restarts_key != key {
                // Another image or other resources begin a new back-off (behaviour.md 12.4).
                slot.restarts_key = key;
                slot.restarts.reset();
                slot.retry_at = None;
            }
        }
        self.pod = pod;
    }

    fn take(&mut self, input: Input, now: Now, out: &mut Vec<Effect>) {
        match input {
            Input::Assigned(assignment) => {
                self.origin = assignment.origin;
                self.take_spec(assignment.pod);
                self.consider_end(now);
                self.tell_end_again(out);
            }
            Input::Removed { grace } => {
                self.gone |= self.origin == Origin::Api;
                self.removed = true;
                let grace = grace.unwrap_or_else(|| self.own_grace());
                self.terminate(Cause::Removed, grace, now);
            }
            Input::Kill { reason, message, grace, disrupts } => {
                self.killed(Cause::Killed { reason, message, disrupts }, grace, now);
            }
            Input::Trim { ids } => self.doom(ids),
            Input::Admitted => self.admission = Admission::Admitted,
            Input::Refused { reason, message } => {
                self.event_about(out, EventType::Warning, reason.clone(), message.clone());
                let message = format!("Pod was rejected: {message}");
                self.terminate(Cause::Refused { reason, message }, Duration::ZERO, now);
            }
            Input::RuntimeChanged => self.stale = true,
            Input::RuntimeBack => self.runtime_is_back(),
            Input::Slot { op } => self.slot_granted(op, now, out),
            Input::Answered { op, outcome } => self.answered(op, outcome, now, out),
            Input::Published { version, gone } => {
                self.acknowledged = self.acknowledged.max(version);
                self.gone |= gone;
            }
            Input::ObjectsChanged => self.objects_changed(),
            Input::HostIps(ips) => self.host_ips = ips,
            Input::Probed { id, kind, success } => self.probe_told(id, kind, success, now),
            Input::Resized(verdict) => self.resize_told(verdict, out),
            Input::Tick => {}
        }
    }

    /// A machine that was made from what an earlier daemon kept took its end for known; the API shows that it is not.
    fn tell_end_again(&mut self, out: &mut Vec<Effect>) {
        // Before the first look at the runtime nothing is told; what follows on that look compares with the object by itself.
        let looked = self.version == 0 && self.observation.is_some();
        let Some(status) = self.status.as_ref().filter(|s| looked && is_terminal(s)) else { return };
        if !self.pod.status.as_ref().is_some_and(is_terminal) {
            self.version += 1;
            out.push(Effect::Publish { version: self.version, status: Arc::clone(status) });
        }
    }

    /// What waits for the runtime is tried at once.
    fn runtime_is_back(&mut self) {
        self.stale = true;
        self.observe_retry = None;
        self.sandbox_retry = None;
        self.cleanup_retry = None;
        self.trim.retry_now();
        for stop in self.stops.values_mut() {
            stop.retry_now();
        }
        for slot in self.slots.values_mut().filter(|s| s.failures > 0) {
            slot.retry_at = None;
        }
    }

    fn answered(&mut self, op: OpId, outcome: Result<Answer, Failure>, now: Now, out: &mut Vec<Effect>) {
        if self.observing == Some(op) {
            self.observing = None;
            self.observed(outcome, now, out);
            return;
        }
        let about_sandbox = match &self.sandbox {
            SandboxWork::Running(o) | SandboxWork::Stopping(o, _) | SandboxWork::Removing(o, _) => *o == op,
            SandboxWork::Idle | SandboxWork::WaitingForSlot(..) => false,
        };
        if about_sandbox {
            self.sandbox_answered(outcome, now, out);
        } else if self.volumes.is_about(op) {
            self.volumes_answered(outcome, now, out);
        } else if self.removing.as_ref().is_some_and(|(o, _)| *o == op) {
            self.removal_answered(&outcome, now);
        } else if self.cleanup_op == Some(op) {
            self.cleanup_answered(outcome, now);
        } else if self.resize.is_about(op) {
            self.update_answered(outcome, now, out);
        } else if let Some(id) = self.stops.iter().find(|(_, s)| s.op() == Some(op)).map(|(id, _)| id.clone())
        {
            self.stop_answered(&id, outcome, now, out);
        } else if let Some(name) =
            self.slots.iter().find(|(_, s)| s.work.op() == Some(op)).map(|(name, _)| name.clone())
        {
            self.start_answered(&name, outcome, now, out);
        }
    }

    fn plan(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.finished {
            return;
        }
        self.plan_observation(now, out);
        if matches!(self.stage, Stage::Sync) {
            self.plan_sync(now, out);
        }
        if matches!(self.stage, Stage::Terminating(_)) {
            self.plan_stop(now, out);
        }
        if matches!(self.stage, Stage::Terminated(_)) {
            self.publish(now, out);
            self.plan_cleanup(now, out);
        }
        // Work that ended in this step may have left the observation stale.
        self.plan_observation(now, out);
    }

    fn plan_observation(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.stale || self.observing.is_some() {
            return;
        }
        if let Some(at) = self.observe_retry.filter(|at| *at > now.boot) {
            self.wake_at(at);
            return;
        }
        self.stale = false;
        self.observing = Some(self.call(out, Call::Observe));
    }

    /// Whether the observation shows everything that has happened.
    fn is_fresh(&self) -> bool {
        self.observation.is_some() && !self.stale && self.observing.is_none()
    }

    /// Leaves [`Stage::Sync`] where the object says so.
    fn consider_end(&mut self, now: Now) {
        if self.origin == Origin::Orphan {
            // One whose end an earlier daemon has begun has what is left of its grace period.
            let left = self.kept.ends_at.map(|end| end.boot.saturating_sub(now.boot));
            self.terminate(Cause::Removed, left.unwrap_or(ORPHAN_GRACE), now);
            return;
        }
        if self.origin == Origin::Api && self.pod.metadata.deletion_timestamp.is_some() {
            let grace = self.pod.metadata.deletion_grace_period_seconds;
            let grace =
                grace.map_or_else(|| self.own_grace(), |s| Duration::from_secs(s.max(0).unsigned_abs()));
            self.terminate(Cause::Deleted, grace, now);
            return;
        }
        if self.origin == Origin::Api
            && self.status.is_none()
            && let Some(status) = self.end_told().or_else(|| self.kept.eviction.clone())
        {
            // It stays told, also where an earlier daemon has kept it and the API server, which was away, shows an older one later.
            self.status = Some(status);
            self.terminate(Cause::AlreadyTerminal, self.own_grace(), now);
        }
    }

    /// The object's status, where it says how the pod ended.
    fn end_told(&self) -> Option<Arc<PodStatus>> {
        self.pod.status.as_ref().filter(|s| is_terminal(s)).cloned().map(Arc::new)
    }

    /// Begins the end, or brings it nearer; the grace period is at least a second and never grows (behaviour.md 4.5).
    fn terminate(&mut self, cause: Cause, grace: Duration, now: Now) {
        let grace = grace.max(Duration::from_secs(1));
        let mut ends_at = now.boot + grace;
        match &mut self.stage {
            Stage::Sync => {
                // What an earlier daemon began to count is counted on; see `keep` for a pod that has gone on since.
                if let Some(kept) = self.kept.ends_at {
                    ends_at = ends_at.min(kept.boot);
                }
                self.stage = Stage::Terminating(Termination { cause, ends_at });
            }
            Stage::Terminating(t) => t.ends_at = t.ends_at.min(ends_at),
            Stage::Terminated(_) => {}
        }
    }

    /// Ends the pod for a reason of the node's; a pod that is ending already only ends sooner.
    fn killed(&mut self, cause: Cause, grace: Option<Duration>, now: Now) {
        let own = self.own_grace();
        let grace = grace.map_or(own, |g| g.min(own));
        self.terminate(cause, grace, now);
    }

    /// Hands over what the machine after this one needs, where it has changed.
    fn keep(&mut self, now: Now, out: &mut Vec<Effect>) {
        let ends_at = self.ends_at();
        let deadline = match (ends_at, self.kept.ends_at) {
            (Some(at), Some(kept)) if at == kept.boot => Some(kept),
            (Some(at), _) => {
                let grace = at.saturating_sub(now.boot);
                Some(Deadline { boot: at, wall: now.wall_after(grace), grace })
            }
            // The pod goes on: the end that an earlier daemon had begun was asked for by nobody else.
            (None, _) if matches!(self.stage, Stage::Sync) && self.admission != Admission::NotAsked => None,
            (None, kept) => kept,
        };
        let kept = Kept {
            ends_at: deadline,
            allocated: self.resize.allocated.clone(),
            actuated: self.resize.actuated.clone(),
            allocated_pod: self.resize.allocated_pod.clone(),
            actuated_pod: self.resize.actuated_pod.clone(),
            eviction: self.kept.eviction.clone().or_else(|| self.eviction_to_keep()),
        };
        if kept != self.kept {
            self.kept = kept.clone();
            // Before whatever follows from it: a daemon that is killed in between must not count anew.
            out.insert(0, Effect::Keep(kept));
        }
    }

    fn own_grace(&self) -> Duration {
        let seconds = self.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(seconds.max(0).unsigned_abs())
    }

    /// Whether the pod's object is on its way out, so that everything on the node goes too.
    fn is_leaving(&self) -> bool {
        match &self.stage {
            Stage::Terminating(Termination { cause, .. }) | Stage::Terminated(cause) => {
                *cause == Cause::Removed
                    || self.removed
                    || self.gone
                    || (self.origin == Origin::Api && self.pod.metadata.deletion_timestamp.is_some())
            }
            Stage::Sync => false,
        }
    }

    fn publish(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.gone || self.origin == Origin::Orphan {
            return;
        }
        let tells = self.cleanup.is_due_at_once() || matches!(self.cleanup, Cleanup::Dirs | Cleanup::Object);
        if !tells || self.trim.has_begun() {
            // All is told: what has been removed one by one since says nothing about the pod.
            return;
        }
        let refused = matches!(
            &self.stage,
            Stage::Terminating(Termination { cause: Cause::Refused { .. }, .. })
                | Stage::Terminated(Cause::Refused { .. })
        );
        if self.observation.is_none() && !refused {
            return;
        }
        let status = status::compute(&status::View {
            pod: &self.pod,
            settings: &self.settings,
            host_ips: &self.host_ips,
            observation: self.observation.as_ref(),
            slots: &self.slots,
            stopped: &self.stopped,
            stage: &self.stage,
            settled: self.is_fresh() && !self.is_making(),
            forced_restarts: &self.forced_restarts,
            resize: &self.resize,
            previous: self.status.as_deref().or(self.pod.status.as_ref()),
            now,
        });
        // What an earlier daemon has told the object shows, and only that: it may have been killed before the API server had it.
        let is_known = match self.version {
            0 => self.pod.status.as_ref() == Some(&status),
            _ => self.status.as_deref() == Some(&status),
        };
        let status = Arc::new(status);
        if is_known {
            self.status = Some(status);
            return;
        }
        self.status = Some(Arc::clone(&status));
        self.version += 1;
        out.push(Effect::Publish { version: self.version, status });
    }

    fn call(&mut self, out: &mut Vec<Effect>, call: Call) -> OpId {
        let op = self.new_op();
        out.push(Effect::Call { op, call });
        op
    }

    fn new_op(&mut self) -> OpId {
        self.next_op += 1;
        OpId(self.next_op)
    }

    fn wake_at(&mut self, at: Duration) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    fn event(
        &self,
        out: &mut Vec<Effect>,
        kind: EventType,
        reason: &'static str,
        message: String,
        container: Option<&str>,
    ) {
        if self.origin == Origin::Orphan {
            return;
        }
        let field_path = container.map(|name| self.kind_of(name).field_path(name));
        out.push(Effect::Event(Event { kind, reason: reason.into(), message, field_path }));
    }

    /// An event whose reason comes from elsewhere.
    fn event_about(&self, out: &mut Vec<Effect>, kind: EventType, reason: String, message: String) {
        if self.origin != Origin::Orphan {
            out.push(Effect::Event(Event { kind, reason: reason.into(), message, field_path: None }));
        }
    }

    /// Where in the spec a container stands; one that the spec has no more counts as a regular one.
    fn kind_of(&self, name: &str) -> ContainerKind {
        container::spec_named(&self.pod, name).map_or(ContainerKind::Regular, |(kind, _)| kind)
    }

    fn restart_curve(&self) -> Curve {
        Curve::restart(self.settings.max_restart_period)
    }

    /// Whether the pod's state in the runtime is being read.
    pub fn is_observing(&self) -> bool {
        self.observing.is_some()
    }

    /// Whether a start may still change what the runtime has.
    pub fn is_making(&self) -> bool {
        matches!(self.sandbox, SandboxWork::Running(_)) || self.slots.values().any(|s| s.work.makes())
    }
}

/// 0.1, 0.2, 0.4 ... seconds up to `cap_seconds` for the `failures`-th failure in a row.
fn retry_delay(failures: u32, cap_seconds: u64) -> Duration {
    let delay = Duration::from_millis(100).saturating_mul(1 << failures.saturating_sub(1).min(16));
    delay.min(Duration::from_secs(cap_seconds))
}

/// Whether a failure tells nothing about what the runtime did.
fn outcome_unknown(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Unavailable | FailureKind::Deadline | FailureKind::Reserved)
}

/// Whether it says how the pod ended.
fn is_terminal(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests;
