//! The scheduler's state, and what it decides: a function of inputs and time, without I/O.
//!
//! A pod is in exactly one place:
//!
//! ```text
//!            decided                 bound                 seen with a node
//!  Queued ────────────> Binding ──────────────> Assumed ─────────────────────> Bound
//!   ^  │ nothing fits      │ failed
//!   │  v                   │
//!  Reporting               │
//!   └──────────────────────┘ back-off
//! ```
//!
//! From Binding on it takes room on its node, so that the next decision knows. While a report is on its way the pod is
//! not decided upon again: a late report must not overwrite what a binding has written.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Decision, Unfit, decide, nowhere};
use crate::node::{NodeInfo, Usage};
use crate::plugins::Candidate;
use crate::pod::{Load, PodInfo, PodRef, Standing, Wish};
use crate::queue::{FLUSH, Queue};
use crate::storage::{ClaimInfo, ClaimKey, ClassInfo, Pick, PodVolumes, Storage, VolumeInfo};

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// All nodes that there are.
    Nodes(Vec<NodeInfo>),
    Node(NodeInfo),
    NodeGone(Arc<str>),
    /// All pods that there are.
    Pods(Vec<PodInfo>),
    Pod(PodInfo),
    PodGone(Arc<str>),
    /// All volumes, claims and classes that there are.
    Volumes(Vec<VolumeInfo>),
    Claims(Vec<ClaimInfo>),
    Classes(Vec<ClassInfo>),
    /// One as it is now; `None` if it is gone.
    Volume(Arc<str>, Option<VolumeInfo>),
    Claim(ClaimKey, Option<ClaimInfo>),
    Class(Arc<str>, Option<ClassInfo>),
    /// A binding ended.
    BindEnded(Arc<str>, BindEnd),
    /// The report on a pod was written, or could not be.
    ReportEnded(Arc<str>, bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BindEnd {
    Bound,
    /// The pod is bound or being deleted, or is not there any more: the watch will tell.
    Overtaken,
    /// The API server will not have it.
    Refused(String),
    /// It did not answer, or not usefully.
    Unavailable,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// The volumes first.
    Bind {
        pod: PodRef,
        node: Arc<str>,
        volumes: Vec<Pick>,
    },
    Report(Report),
}

/// What is to be told about a pod that has no node.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) pod: PodRef,
    pub(crate) reason: ReportReason,
    pub(crate) message: String,
    /// Whether the condition says something else.
    pub(crate) condition: bool,
    /// Whether the condition was false already, so that its time of transition stays.
    pub(crate) known_false: bool,
    /// Whether the same was not said for long.
    pub(crate) event: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportReason {
    Unschedulable,
    SchedulerError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Park,
    BackOff,
}

#[derive(Debug)]
enum Place {
    Queued,
    /// With what follows once it is written.
    Reporting(After),
    Binding(Arc<str>),
    Assumed(Arc<str>),
    Bound(Arc<str>),
}

#[derive(Debug)]
struct Entry {
    reference: PodRef,
    load: Load,
    place: Place,
    /// While it has no node.
    wish: Option<Box<Wish>>,
    /// What the last event said, and when.
    told: Option<(Box<str>, Duration)>,
}

impl Entry {
    /// Where it takes room.
    fn node(&self) -> Option<&Arc<str>> {
        match &self.place {
            Place::Queued | Place::Reporting(_) => None,
            Place::Binding(node) | Place::Assumed(node) | Place::Bound(node) => Some(node),
        }
    }
}

/// See the module's page.
#[derive(Debug, Default)]
pub(crate) struct Core {
    nodes: BTreeMap<Arc<str>, NodeInfo>,
    /// By node, also of nodes that are not known (yet, or any more).
    usage: HashMap<Arc<str>, Usage>,
    pods: HashMap<Arc<str>, Entry>,
    queue: Queue,
    storage: Storage,
    /// Reports that an input gave rise to.
    reports: VecDeque<Effect>,
    rotation: usize,
    nodes_listed: bool,
    pods_listed: bool,
}

impl Core {
    /// Whether both lists are there; nothing is decided before.
    pub(crate) fn synced(&self) -> bool {
        self.nodes_listed && self.pods_listed
    }

    /// When [`Core::decide`] has something to do without another input.
    pub(crate) fn due(&self) -> Option<Duration> {
        if !self.synced() {
            return None;
        }
        let now = self.queue.has_active() || !self.reports.is_empty();
        if now { Some(Duration::ZERO) } else { self.queue.due() }
    }

    /// Takes in what happened.
    pub(crate) fn step(&mut self, input: Input, now: Duration) {
        match input {
            Input::Nodes(nodes) => {
                let there: HashSet<Arc<str>> = nodes.iter().map(|n| n.name.clone()).collect();
                self.nodes.retain(|name, _| there.contains(name));
                nodes.into_iter().for_each(|node| self.node(node, now));
                self.nodes_listed = true;
            }
            Input::Node(node) => self.node(node, now),
            // Its pods stay where they are until they are deleted.
            Input::NodeGone(name) => {
                self.nodes.remove(&name);
            }
            Input::Pods(pods) => {
                let there: HashSet<Arc<str>> = pods.iter().map(|p| p.reference.uid.clone()).collect();
                let gone: Vec<Arc<str>> =
                    self.pods.keys().filter(|uid| !there.contains(*uid)).cloned().collect();
                gone.iter().for_each(|uid| self.remove(uid, now));
                pods.into_iter().for_each(|pod| self.pod(pod, now));
                self.pods_listed = true;
            }
            Input::Pod(pod) => self.pod(pod, now),
            Input::PodGone(uid) => self.remove(&uid, now),
            Input::Volumes(all) => self.stored(now, |s| s.set_volumes(all)),
            Input::Claims(all) => self.stored(now, |s| s.set_claims(all)),
            Input::Classes(all) => self.stored(now, |s| s.set_classes(all)),
            Input::Volume(name, volume) => self.stored(now, |s| s.volume(name, volume)),
            Input::Claim(key, claim) => self.stored(now, |s| s.claim(key, claim)),
            Input::Class(name, class) => self.stored(now, |s| s.class(name, class)),
            Input::BindEnded(uid, end) => self.bind_ended(&uid, end, now),
            Input::ReportEnded(uid, written) => self.report_ended(&uid, written, now),
        }
    }

    /// Volumes, claims or classes have changed, which may help a pod.
    fn stored(&mut self, now: Duration, change: impl FnOnce(&mut Storage)) {
        change(&mut self.storage);
        self.queue.move_all(now);
    }

    /// Decides on pods that are due, as many as give at most `room` effects.
    pub(crate) fn decide(&mut self, room: usize, now: Duration) -> Vec<Effect> {
        let mut effects: Vec<Effect> = Vec::new();
        while effects.len() < room
            && let Some(report) = self.reports.pop_front()
        {
            effects.push(report);
        }
        while self.synced() && effects.len() < room {
            let Some(uid) = self.queue.pop(now) else { break };
            effects.extend(self.decide_one(&uid, now));
        }
        effects
    }

    fn decide_one(&mut self, uid: &Arc<str>, now: Duration) -> Option<Effect> {
        let Some(Entry { wish: Some(wish), load, reference, .. }) = self.pods.get(uid) else {
            self.queue.remove(uid);
            return None;
        };
        let idle = Usage::default();
        let nodes = self.nodes.values().map(|node| (node, self.usage.get(&node.name).unwrap_or(&idle)));
        self.rotation = self.rotation.wrapping_add(1);
        if !wish.claims.is_empty() && !self.storage.listed() {
            // Their lists come, and bring the pod back.
            self.queue.park(uid, now);
            return None;
        }
        let volumes = if wish.claims.is_empty() {
            Ok(PodVolumes::NONE)
        } else {
            self.storage.of_pod(&reference.namespace, &wish.claims)
        };
        let decision = match &volumes {
            Ok(volumes) => decide(Candidate { wish, load, volumes }, nodes, self.rotation),
            Err(why) => nowhere(why, self.nodes.len(), wish.preempts),
        };
        match decision {
            Decision::Fits(node) => {
                let pod = reference.clone();
                let picked = volumes.ok().zip(self.nodes.get(&node)).and_then(|(v, node)| v.on(node).ok());
                let volumes = picked.unwrap_or_default();
                self.storage.pick(uid, &volumes);
                self.place(uid, Place::Binding(node.clone()));
                Some(Effect::Bind { pod, node, volumes })
            }
            Decision::Nowhere(unfit) => {
                explain(reference, &unfit);
                let report = self.report(uid, After::Park, unfit.message, now);
                if report.is_none() {
                    self.queue.park(uid, now);
                }
                report
            }
        }
    }

    /// What is to be written about a pod, if anything is new.
    fn report(&mut self, uid: &Arc<str>, after: After, message: String, now: Duration) -> Option<Effect> {
        let entry = self.pods.get_mut(uid)?;
        let reported = entry.wish.as_ref()?.reported.as_deref();
        let (known_false, condition) = (reported.is_some(), reported != Some(message.as_str()));
        let event = match &entry.told {
            Some((last, at)) => **last != *message || now.saturating_sub(*at) >= FLUSH,
            None => true,
        };
        if !condition && !event {
            return None;
        }
        if event {
            entry.told = Some((message.as_str().into(), now));
        }
        debug_assert!(entry.node().is_none(), "a pod that takes room on a node has nothing to report");
        entry.place = Place::Reporting(after);
        let pod = entry.reference.clone();
        let reason = match after {
            After::Park => ReportReason::Unschedulable,
            After::BackOff => ReportReason::SchedulerError,
        };
        Some(Effect::Report(Report { pod, reason, message, condition, known_false, event }))
    }

    fn node(&mut self, node: NodeInfo, now: Duration) {
        if self.nodes.get(&node.name) == Some(&node) {
            return;
        }
        self.nodes.insert(node.name.clone(), node);
        self.queue.move_all(now);
    }

    fn pod(&mut self, pod: PodInfo, now: Duration) {
        let uid = pod.reference.uid.clone();
        match pod.standing {
            Standing::Aside => self.remove(&uid, now),
            Standing::Bound(node) => {
                self.queue.remove(&uid);
                self.remove_load_if_other(&uid, &node, &pod.load, now);
                let place = Place::Bound(node);
                let entry = Entry { reference: pod.reference, load: pod.load, place, wish: None, told: None };
                self.insert(uid, entry);
            }
            Standing::Waiting(wish) => self.waiting(pod.reference, pod.load, wish, now),
        }
    }

    fn waiting(&mut self, reference: PodRef, load: Load, wish: Box<Wish>, now: Duration) {
        let uid = reference.uid.clone();
        let Some(entry) = self.pods.get_mut(&uid) else {
            self.queue.add(&uid, wish.priority, wish.created);
            let entry = Entry { reference, load, place: Place::Queued, wish: Some(wish), told: None };
            self.insert(uid, entry);
            return;
        };
        entry.reference = reference;
        // A pod that is being bound keeps the load that was counted; it comes back with its node.
        if entry.node().is_some() {
            return;
        }
        let same = entry.load == load && entry.wish.as_ref().is_some_and(|old| old.asks_the_same(&wish));
        let priority = wish.priority;
        entry.load = load;
        entry.wish = Some(wish);
        if !same {
            self.queue.touch(&uid, priority, now);
        }
    }

    /// A pod that was counted on another node, or with another load, frees that.
    fn remove_load_if_other(&mut self, uid: &Arc<str>, node: &Arc<str>, load: &Load, now: Duration) {
        let Some(entry) = self.pods.get(uid) else { return };
        let freed = entry.node().is_some_and(|old| old != node) || entry.load != *load;
        let held = entry.node().is_some();
        self.forget(uid);
        if held && freed {
            self.queue.move_all(now);
        }
    }

    fn remove(&mut self, uid: &Arc<str>, now: Duration) {
        self.queue.remove(uid);
        let freed = self.pods.get(uid).is_some_and(|entry| entry.node().is_some());
        self.forget(uid);
        if freed {
            self.queue.move_all(now);
        }
    }

    fn bind_ended(&mut self, uid: &Arc<str>, end: BindEnd, now: Duration) {
        let Some(Entry { place: Place::Binding(node), .. }) = self.pods.get(uid) else { return };
        let node = node.clone();
        self.storage.release(uid);
        if end == BindEnd::Bound {
            self.place(uid, Place::Assumed(node));
            self.queue.remove(uid);
            return;
        }
        self.place(uid, Place::Queued);
        let report = match end {
            BindEnd::Refused(why) => {
                self.report(uid, After::BackOff, format!("binding rejected: {why}"), now)
            }
            BindEnd::Bound | BindEnd::Overtaken | BindEnd::Unavailable => None,
        };
        match report {
            Some(report) => self.reports.push_back(report),
            None => self.queue.back_off(uid, now),
        }
        // The room that it had may serve another.
        self.queue.move_all(now);
    }

    fn report_ended(&mut self, uid: &Arc<str>, written: bool, now: Duration) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let Place::Reporting(after) = entry.place else { return };
        entry.place = Place::Queued;
        if !written {
            entry.told = None;
        }
        if written && after == After::Park {
            self.queue.park(uid, now);
        } else {
            self.queue.back_off(uid, now);
        }
    }

    fn insert(&mut self, uid: Arc<str>, entry: Entry) {
        if let Some(node) = entry.node() {
            self.usage.entry(node.clone()).or_default().add(&entry.load);
        }
        self.pods.insert(uid, entry);
    }

    fn forget(&mut self, uid: &Arc<str>) {
        if let Some(entry) = self.pods.remove(uid) {
            self.free(&entry);
        }
    }

    fn place(&mut self, uid: &Arc<str>, place: Place) {
        if let Some(mut entry) = self.pods.remove(uid) {
            self.free(&entry);
            entry.place = place;
            self.insert(uid.clone(), entry);
        }
    }

    fn free(&mut self, entry: &Entry) {
        let Some(node) = entry.node() else { return };
        if let Some(usage) = self.usage.get_mut(node) {
            usage.remove(&entry.load);
            if usage.pods == 0 {
                self.usage.remove(node);
            }
        }
    }
}

/// Node by node, for who asks with -v 2.
fn explain(pod: &PodRef, unfit: &Unfit) {
    tracing::info!(pod = %format_args!("{}/{}", pod.namespace, pod.name), "unable to schedule pod: {}", unfit.message);
    for (node, plugin, reasons) in &unfit.detail {
        tracing::debug!(pod = %format_args!("{}/{}", pod.namespace, pod.name), %node, plugin, reasons = reasons.join(", "), "does not fit");
    }
}

#[cfg(test)]
mod tests;
