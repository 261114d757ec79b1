//! Other resources for running containers, and for the pod as a whole (behaviour.md 27).
//!
//! ```text
//!   spec --(node machine: Allowed)--> allocated --(runtime: Update...Resources)--> actuated
//! ```
//!
//! Both steps are kept over a restart as what they differ in from the step before: `allocated` holds what a container is
//! allowed where its spec says something else, `actuated` what it has where it is allowed something else. The pod as a whole
//! has what its containers need together, or what its spec says of it: it grows before they do, and shrinks after them.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod as ApiPod, ResourceRequirements};
use serde::{Deserialize, Serialize};

use super::{Pod, retry_delay, total};
use crate::container::{self, ContainerKind};
use crate::effect::{Call, Effect, EventType, Kept, OpId, Resource};
use crate::input::{Answer, Failure, ResizeVerdict};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};

/// A resize that the node does not grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingResize {
    /// Whether it may be granted later.
    pub(crate) deferred: bool,
    pub(crate) message: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Resize {
    pub(crate) allocated: BTreeMap<String, ResourceRequirements>,
    pub(crate) actuated: BTreeMap<String, ResourceRequirements>,
    /// What `spec.resources` is allowed to be, where it is something else.
    pub(crate) allocated_pod: Option<Box<ResourceRequirements>>,
    /// What the pod as a whole has, where it is allowed something else.
    pub(crate) actuated_pod: Option<Box<ResourceRequirements>>,
    pub(crate) pending: Option<PendingResize>,
    /// What the runtime said against the last try.
    pub(crate) error: Option<String>,
    /// Whether the node is to be asked, or has been.
    ask: Ask,
    update: Option<Update>,
    /// Runs that are ended because their containers cannot be changed while they run, by the container's name.
    ending: BTreeMap<String, String>,
    retry_at: Option<Duration>,
    failures: u32,
}

/// Whose resources are changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Target {
    Pod,
    Container(String),
}

/// A call under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Update {
    op: OpId,
    target: Target,
    resource: Resource,
    wants: ResourceRequirements,
}

/// What comes before what, of one resource: the pod is never less than its containers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    PodGrows,
    ContainerShrinks,
    ContainerGrows,
    PodShrinks,
}

/// A change that is due.
#[derive(Debug)]
struct Step {
    target: Target,
    /// The runtime's id of the container, or of the sandbox.
    id: String,
    resource: Resource,
    turn: Turn,
    wants: ResourceRequirements,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Ask {
    #[default]
    No,
    Due,
    Asked,
}

impl Resize {
    pub(super) fn new(kept: &Kept) -> Self {
        let mut resize = Self {
            allocated: kept.allocated.clone(),
            actuated: kept.actuated.clone(),
            allocated_pod: kept.allocated_pod.clone(),
            actuated_pod: kept.actuated_pod.clone(),
            ..Self::default()
        };
        resize.ask = resize.due();
        resize
    }

    /// Whether anything of the spec is not allowed yet.
    fn is_asking(&self) -> bool {
        !self.allocated.is_empty() || self.allocated_pod.is_some()
    }

    fn due(&self) -> Ask {
        if self.is_asking() { Ask::Due } else { Ask::No }
    }

    pub(super) fn is_about(&self, op: OpId) -> bool {
        self.update.as_ref().is_some_and(|u| u.op == op)
    }

    /// Whether containers, or the pod as a whole, have not got yet what they are allowed.
    pub(crate) fn in_progress(&self) -> bool {
        !self.actuated.is_empty() || self.actuated_pod.is_some()
    }

    /// What a container is allowed.
    pub(crate) fn allocated_of<'a>(&'a self, spec: &'a ContainerSpec) -> Option<&'a ResourceRequirements> {
        self.allocated.get(&spec.name).or(spec.resources.as_ref())
    }

    /// What a container is allowed, with the pod's limits where it has none of its own: the runtime is told these.
    fn held_to(&self, pod: &ApiPod, spec: &ContainerSpec) -> ResourceRequirements {
        let mut held = self.allocated_of(spec).cloned().unwrap_or_default();
        let level = match &self.allocated_pod {
            Some(allowed) => Some(&**allowed),
            None => pod.spec.as_ref().and_then(|spec| spec.resources.as_ref()),
        };
        for (name, amount) in level.and_then(|level| level.limits.as_ref()).into_iter().flatten() {
            if matches!(name.as_str(), "cpu" | "memory") {
                let limits = held.limits.get_or_insert_default();
                limits.entry(name.clone()).or_insert_with(|| amount.clone());
            }
        }
        held
    }

    /// Holds on to what was allowed before.
    pub(super) fn spec_changed(&mut self, old: &ApiPod, new: &ApiPod) {
        if std::ptr::eq(old, new) {
            return;
        }
        let mut changed = false;
        for (kind, spec) in container::specs(new) {
            if kind == ContainerKind::Ephemeral {
                continue;
            }
            let Some((_, before)) = container::spec_named(old, &spec.name) else { continue };
            if before.resources == spec.resources {
                continue;
            }
            changed = true;
            let allowed = self.allocated_of(&before).cloned().unwrap_or_default();
            if allowed == spec.resources.clone().unwrap_or_default() {
                self.allocated.remove(&spec.name);
            } else {
                self.allocated.insert(spec.name.clone(), allowed);
            }
        }
        let level =
            |pod: &ApiPod| pod.spec.as_ref().and_then(|spec| spec.resources.clone()).unwrap_or_default();
        let (before, wants) = (level(old), level(new));
        if before != wants {
            changed = true;
            let allowed = self.allocated_pod.take().unwrap_or_else(|| Box::new(before));
            self.allocated_pod = Some(allowed).filter(|allowed| **allowed != wants);
        }
        if changed {
            self.pending = None;
            self.ask = self.due();
        }
    }
}

impl Pod {
    /// Asks the node for what the spec wants, and brings the running containers to what they are allowed.
    pub(super) fn plan_resize(&mut self, observation: &Observation, now: Now, out: &mut Vec<Effect>) {
        if self.resize.ask == Ask::Due {
            self.resize.ask = Ask::Asked;
            match self.never_resized() {
                Some(message) => self.resize_told(ResizeVerdict::Infeasible { message }, out),
                None => out.push(Effect::AskResize),
            }
        }
        if !self.resize.in_progress() {
            return;
        }
        self.forget_actuated(observation);
        if !self.resize.in_progress() {
            self.resize_completed(out);
        }
        if !self.resize.in_progress() || self.resize.update.is_some() {
            return;
        }
        if let Some(at) = self.resize.retry_at.filter(|at| *at > now.boot) {
            self.wake_at(at);
            return;
        }
        match self.next_update(observation, now) {
            Some(Step { target, id, resource, wants, .. }) => {
                let call = match &target {
                    Target::Pod => {
                        Call::UpdatePod { sandbox_id: id, resource, resources: Box::new(wants.clone()) }
                    }
                    Target::Container(name) => {
                        let own = container::spec_named(&self.pod, name)
                            .and_then(|(_, spec)| self.resize.allocated_of(&spec).cloned());
                        let resources = Box::new(own.unwrap_or_default());
                        Call::UpdateResources { id, name: name.clone(), resource, resources }
                    }
                };
                let op = self.call(out, call);
                self.resize.update = Some(Update { op, target, resource, wants });
            }
            None if !self.resize.in_progress() => self.resize_completed(out),
            None => {}
        }
    }

    fn resize_completed(&self, out: &mut Vec<Effect>) {
        self.event(out, EventType::Normal, "ResizeCompleted", "Pod resize completed".to_owned(), None);
    }

    /// What does not run has nothing that it could be brought to: it starts with what it is allowed.
    fn forget_actuated(&mut self, observation: &Observation) {
        let Resize { actuated, actuated_pod, ending, .. } = &mut self.resize;
        if observation.newest_sandbox().is_none_or(|sandbox| !sandbox.ready) {
            *actuated_pod = None;
        }
        let running = |name: &str| {
            let newest = observation.newest_container(name);
            newest.filter(|c| c.state == ContainerState::Running).map(|c| c.id.as_str())
        };
        actuated.retain(|name, _| {
            let id = running(name);
            id.is_some() && ending.get(name).is_none_or(|ended| id == Some(ended.as_str()))
        });
        ending.retain(|name, _| actuated.contains_key(name));
    }

    /// Memory before processor time; of each the pod as a whole before its containers where it grows, after them where it
    /// shrinks; of the containers those that become smaller before those that become larger (behaviour.md 27.6).
    fn next_update(&mut self, observation: &Observation, now: Now) -> Option<Step> {
        let mut steps = self.pod_steps(observation);
        let pod_grows: Vec<Resource> =
            steps.iter().filter(|s| s.turn == Turn::PodGrows).map(|s| s.resource).collect();
        steps.extend(self.container_steps(observation, &pod_grows, now));
        // While any container has more than it is to have, the pod has to hold it.
        let open = |resource: Resource| {
            let pod = &self.pod;
            self.resize.actuated.iter().any(|(name, has)| {
                let spec = container::spec_named(pod, name);
                let wants = spec.map(|(_, spec)| self.resize.held_to(pod, &spec));
                differs(resource, has, &wants.unwrap_or_default())
            })
        };
        steps.retain(|step| step.turn != Turn::PodShrinks || !open(step.resource));
        steps.sort_by(|a, b| (a.resource, a.turn, &a.target).cmp(&(b.resource, b.turn, &b.target)));
        steps.into_iter().next()
    }

    /// What is to be changed about the pod as a whole.
    fn pod_steps(&mut self, observation: &Observation) -> Vec<Step> {
        let Some(has) = &self.resize.actuated_pod else { return Vec::new() };
        let wants = total::of(&total::as_allowed(&self.pod, &self.resize));
        let Some(sandbox) = observation.newest_sandbox() else { return Vec::new() };
        let step = |resource: Resource| Step {
            target: Target::Pod,
            id: sandbox.id.clone(),
            resource,
            turn: if amount(resource, &wants) > amount(resource, has) {
                Turn::PodGrows
            } else {
                Turn::PodShrinks
            },
            wants: wants.clone(),
        };
        let changed = [Resource::Memory, Resource::Cpu].into_iter().filter(|r| differs(*r, has, &wants));
        let steps: Vec<Step> = changed.map(step).collect();
        if steps.is_empty() {
            self.resize.actuated_pod = None;
        }
        steps
    }

    /// What is to be changed about running containers. Those that have to be restarted for it are ended, once the pod is
    /// large enough for what they will have.
    fn container_steps(&mut self, observation: &Observation, pod_grows: &[Resource], now: Now) -> Vec<Step> {
        let pod = std::sync::Arc::clone(&self.pod);
        let mut steps = Vec::new();
        let mut settled = Vec::new();
        let mut ending = Vec::new();
        for (name, has) in &self.resize.actuated {
            let Some((_, spec)) = container::spec_named(&pod, name) else { continue };
            let wants = self.resize.held_to(&pod, &spec);
            let running: Option<&Container> = observation.newest_container(name);
            let Some(c) = running else { continue };
            let parts: Vec<Resource> =
                [Resource::Memory, Resource::Cpu].into_iter().filter(|r| differs(*r, has, &wants)).collect();
            if parts.iter().any(|r| restarts_for(&spec, *r)) {
                if !parts.iter().any(|r| pod_grows.contains(r)) {
                    ending.push((name.clone(), c.id.clone()));
                }
                continue;
            }
            if parts.is_empty() {
                settled.push(name.clone());
            }
            for resource in parts {
                let grows = amount(resource, &wants) > amount(resource, has);
                steps.push(Step {
                    target: Target::Container(name.clone()),
                    id: c.id.clone(),
                    resource,
                    turn: if grows { Turn::ContainerGrows } else { Turn::ContainerShrinks },
                    wants: wants.clone(),
                });
            }
        }
        for name in settled {
            self.resize.actuated.remove(&name);
        }
        for (name, id) in ending {
            let message = format!("Container {name} resize requires restart");
            self.forced_restarts.insert(id.clone());
            self.kill(&id, message, self.own_grace(), now);
            self.resize.ending.insert(name, id);
        }
        steps
    }

    /// What each container is held to, by name.
    fn held(&self) -> BTreeMap<String, ResourceRequirements> {
        container::specs(&self.pod)
            .filter(|(kind, _)| *kind != ContainerKind::Ephemeral)
            .map(|(_, spec)| (spec.name.clone(), self.resize.held_to(&self.pod, &spec)))
            .collect()
    }

    /// Why the node is not to be asked: the swap of a container that has a share of it would have to change with its memory
    /// (behaviour.md 27.4).
    fn never_resized(&self) -> Option<String> {
        if !self.settings.limited_swap {
            return None;
        }
        let before = total::as_allowed(&self.pod, &self.resize);
        let is_swapped = self.resize.allocated.iter().any(|(name, allowed)| {
            let Some((_, spec)) = container::spec_named(&self.pod, name) else { return false };
            let wanted = spec.resources.clone().unwrap_or_default();
            if !differs(Resource::Memory, allowed, &wanted) || restarts_for(&spec, Resource::Memory) {
                return false;
            }
            let old = ContainerSpec { resources: Some(allowed.clone()), ..spec.as_ref().clone() };
            podspec::may_swap(&before, &old) || podspec::may_swap(&self.pod, &spec)
        });
        is_swapped.then(|| "In-place resize of containers with swap is not supported.".to_owned())
    }

    pub(super) fn resize_told(&mut self, verdict: ResizeVerdict, out: &mut Vec<Effect>) {
        if !self.resize.is_asking() {
            return;
        }
        // What was asked for before may be allowed just now.
        let verdict = match self.never_resized() {
            Some(message) => ResizeVerdict::Infeasible { message },
            None => verdict,
        };
        let (deferred, message) = match verdict {
            ResizeVerdict::Allowed => {
                self.resize.pending = None;
                self.resize.ask = Ask::No;
                self.resize.error = None;
                let total_before = total::of(&total::as_allowed(&self.pod, &self.resize));
                let held_before = self.held();
                self.resize.allocated.clear();
                self.resize.allocated_pod = None;
                let held = self.held();
                for (name, before) in held_before {
                    if held.get(&name) != Some(&before) {
                        // What runs may still have something older than what was allowed last.
                        self.resize.actuated.entry(name).or_insert(before);
                    }
                }
                if total_before != total::of(&self.pod) {
                    self.resize.actuated_pod.get_or_insert(Box::new(total_before));
                }
                self.event(out, EventType::Normal, "ResizeStarted", "Pod resize started".to_owned(), None);
                return;
            }
            ResizeVerdict::Deferred { message } => (true, message),
            ResizeVerdict::Infeasible { message } => (false, message),
        };
        let pending = PendingResize { deferred, message: message.clone() };
        if self.resize.pending.as_ref() != Some(&pending) {
            let (kind, reason) = if deferred {
                (EventType::Normal, "ResizeDeferred")
            } else {
                (EventType::Warning, "ResizeInfeasible")
            };
            self.event(out, kind, reason, message, None);
        }
        self.resize.pending = Some(pending);
    }

    pub(super) fn update_answered(
        &mut self,
        outcome: Result<Answer, Failure>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(Update { target, resource, wants, .. }) = self.resize.update.take() else { return };
        // What the container has now is read from the runtime.
        self.stale = true;
        match outcome {
            Ok(_) => {
                let has = match &target {
                    Target::Pod => self.resize.actuated_pod.as_deref_mut(),
                    Target::Container(name) => self.resize.actuated.get_mut(name),
                };
                if let Some(has) = has {
                    take_part(resource, has, &wants);
                }
                self.resize.failures = 0;
                self.resize.retry_at = None;
                self.resize.error = None;
            }
            Err(failure) => {
                self.resize.failures += 1;
                self.resize.retry_at = Some(now.boot + retry_delay(self.resize.failures + 3, 30));
                if self.resize.error.as_ref() != Some(&failure.message) {
                    let what = match target {
                        Target::Pod => "the pod".to_owned(),
                        Target::Container(name) => format!("container {name}"),
                    };
                    let message = format!("Error resizing {what}: {}", failure.message);
                    self.event(out, EventType::Warning, "ResizeError", message, None);
                }
                self.resize.error = Some(failure.message);
            }
        }
    }

    /// A pod that ends gets nothing else.
    pub(super) fn give_up_update(&mut self, out: &mut Vec<Effect>) {
        if let Some(update) = self.resize.update.take() {
            out.push(Effect::Cancel { op: update.op });
        }
    }
}

fn key(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "memory",
        Resource::Cpu => "cpu",
    }
}

fn differs(resource: Resource, a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    let of = |list: &Option<BTreeMap<String, _>>| list.as_ref().and_then(|l| l.get(key(resource))).cloned();
    of(&a.requests) != of(&b.requests) || of(&a.limits) != of(&b.limits)
}

/// Makes one resource of `has` what it is in `wants`.
fn take_part(resource: Resource, has: &mut ResourceRequirements, wants: &ResourceRequirements) {
    for (has, wants) in [(&mut has.requests, &wants.requests), (&mut has.limits, &wants.limits)] {
        match wants.as_ref().and_then(|l| l.get(key(resource))) {
            Some(value) => {
                has.get_or_insert_default().insert(key(resource).to_owned(), value.clone());
            }
            None => {
                if let Some(list) = has {
                    list.remove(key(resource));
                }
            }
        }
    }
}

/// What decides whether a change makes a container larger: its limit, else its request; without both it is boundless.
fn amount(resource: Resource, of: &ResourceRequirements) -> i128 {
    let read = |list: &Option<BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
        let text = &list.as_ref()?.get(key(resource))?.0;
        text.parse::<podspec::Quantity>().ok().map(|q| i128::from(q.milli_value()))
    };
    read(&of.limits).or_else(|| read(&of.requests)).unwrap_or(i128::MAX)
}

fn restarts_for(spec: &ContainerSpec, resource: Resource) -> bool {
    let mut policies = spec.resize_policy.iter().flatten();
    policies.any(|p| p.resource_name == key(resource) && p.restart_policy == "RestartContainer")
}
