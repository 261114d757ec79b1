//! The daemon's bookkeeping, as `daemon/src/pods` has it: mailboxes of levels, calls under way, the status writer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus, ResourceRequirements};
use lifecycle::{
    Assignment, Deadline, Facts, Input, Kept, Node, Now, OpId, Origin, Pod, ProbeTarget, ResizeVerdict,
};

use crate::workload::Key;

/// What is posted to a pod's task: levels as their newest value, answers in order.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    pub(crate) assignment: Option<Assignment>,
    pub(crate) removed: Option<Option<Duration>>,
    pub(crate) runtime_back: bool,
    pub(crate) runtime_changed: bool,
    pub(crate) kill: Option<Input>,
    pub(crate) resized: Option<ResizeVerdict>,
    /// Of the node machine and of probes.
    pub(crate) answers: VecDeque<Input>,
    /// Of calls; looked at last.
    pub(crate) outcomes: VecDeque<Input>,
}

impl Letters {
    /// The first reason counts, and the shortest grace.
    pub(crate) fn kill(&mut self, reason: String, message: String, grace: Option<Duration>) {
        match &mut self.kill {
            Some(Input::Kill { grace: before, .. }) => *before = [*before, grace].into_iter().flatten().min(),
            kill => *kill = Some(Input::Kill { reason, message, grace, disrupts: true }),
        }
    }

    /// In an order in which the newest spec is known before anything is planned.
    pub(crate) fn take(&mut self) -> Option<Input> {
        if let Some(assignment) = self.assignment.take() {
            return Some(Input::Assigned(assignment));
        }
        if let Some(grace) = self.removed.take() {
            return Some(Input::Removed { grace });
        }
        if let Some(kill) = self.kill.take() {
            return Some(kill);
        }
        if let Some(verdict) = self.resized.take() {
            return Some(Input::Resized(verdict));
        }
        if std::mem::take(&mut self.runtime_back) {
            return Some(Input::RuntimeBack);
        }
        if std::mem::take(&mut self.runtime_changed) {
            return Some(Input::RuntimeChanged);
        }
        self.answers.pop_front().or_else(|| self.outcomes.pop_front())
    }
}

/// A status on its way to the API.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) version: u64,
    pub(crate) status: Arc<PodStatus>,
    pub(crate) failures: u32,
}

/// One pod's task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) machine: Pod,
    pub(crate) origin: Origin,
    pub(crate) letters: Letters,
    /// Whether the task is about to look into its mailbox.
    pub(crate) awake: bool,
    pub(crate) calls: BTreeMap<OpId, u64>,
    pub(crate) pending: Option<Outgoing>,
    pub(crate) sending: Option<Outgoing>,
    pub(crate) send_after: Duration,
    pub(crate) probed: Vec<ProbeTarget>,
    /// What each probe has said last.
    pub(crate) verdicts: BTreeMap<ProbeTarget, bool>,
    /// Whether the node was told that nothing runs, and that the volumes are unmounted.
    pub(crate) freed: bool,
    pub(crate) settled: bool,
    pub(crate) removed: bool,
    /// What the source said after the pod had gone from it.
    pub(crate) next: Option<Assignment>,
    /// Ticks in a row without time passing.
    pub(crate) spins: u32,
}

impl Task {
    pub(crate) fn new(machine: Pod, assignment: Assignment) -> Self {
        let origin = assignment.origin;
        let letters = Letters { assignment: Some(assignment), ..Letters::default() };
        Self {
            machine,
            origin,
            letters,
            awake: false,
            calls: BTreeMap::new(),
            pending: None,
            sending: None,
            send_after: Duration::ZERO,
            probed: Vec::new(),
            verdicts: BTreeMap::new(),
            freed: false,
            settled: false,
            removed: false,
            next: None,
            spins: 0,
        }
    }
}

/// What the API was last seen to have of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) version: u64,
    pub(crate) status: PodStatus,
}

/// One life of the daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) tasks: BTreeMap<Key, Task>,
    pub(crate) node: Node,
    /// What the node machine was told of the node last, but for its way down.
    pub(crate) facts: Arc<Facts>,
    pub(crate) known: BTreeMap<Key, Known>,
    /// The runtime's changes of each pod at the last full reading; `None` before the first.
    pub(crate) audited: Option<BTreeMap<Key, u64>>,
    /// Whether the API's list has come; only then is anything taken for an orphan.
    pub(crate) listed: bool,
    pub(crate) files_read: bool,
    /// Whether what nobody has any more was looked for.
    pub(crate) swept: bool,
}

impl Daemon {
    pub(crate) fn new(seed: u64) -> Self {
        let facts = crate::node::facts(seed);
        Self {
            tasks: BTreeMap::new(),
            node: crate::node::node(seed, &facts),
            facts,
            known: BTreeMap::new(),
            audited: None,
            listed: false,
            files_read: false,
            swept: false,
        }
    }

    /// Older news than what a write brought is ignored.
    pub(crate) fn seen(&mut self, key: Key, pod: &ApiPod, version: u64) {
        let Some(status) = &pod.status else { return };
        if self.known.get(&key).is_none_or(|k| k.version < version) {
            self.known.insert(key, Known { version, status: status.clone() });
        }
    }
}

#[derive(Clone, Debug)]
struct Record {
    pod: Arc<ApiPod>,
    status: Option<PodStatus>,
    kept: Kept,
    /// Whether its source has it no more.
    removed: bool,
    boot: u64,
}

/// What the daemon keeps on the disk, as `daemon/src/ledger.rs` does.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<Key, Record>);

impl Ledger {
    /// With the statuses that were told last.
    pub(crate) fn pods(&self) -> Vec<(Key, Arc<ApiPod>)> {
        let with_status = |record: &Record| match &record.status {
            Some(status) => Arc::new(ApiPod { status: Some(status.clone()), ..ApiPod::clone(&record.pod) }),
            None => Arc::clone(&record.pod),
        };
        self.0.iter().filter(|(_, r)| !r.removed).map(|(key, r)| (*key, with_status(r))).collect()
    }

    pub(crate) fn removed_pods(&self) -> Vec<(Key, Arc<ApiPod>)> {
        self.0.iter().filter(|(_, r)| r.removed).map(|(key, r)| (*key, Arc::clone(&r.pod))).collect()
    }

    /// The pod, where only its end is left to be carried out.
    pub(crate) fn removed_pod(&self, key: Key) -> Option<Arc<ApiPod>> {
        self.0.get(&key).filter(|r| r.removed).map(|r| Arc::clone(&r.pod))
    }

    pub(crate) fn removed(&mut self, key: Key) {
        if let Some(record) = self.0.get_mut(&key) {
            record.removed = true;
        }
    }

    pub(crate) fn knows(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }

    pub(crate) fn kept(&self, key: Key, pod: &ApiPod, boot: u64, now: Now) -> Kept {
        let Some(record) = self.0.get(&key) else { return Kept::default() };
        let mut kept = record.kept.clone();
        if record.boot != boot {
            kept.ends_at = kept.ends_at.map(|deadline| translated(deadline, now));
        }
        for (name, before) in changed_resources(&record.pod, pod) {
            kept.allocated.entry(name).or_insert(before);
        }
        if let Some(before) = changed_level(&record.pod, pod) {
            kept.allocated_pod.get_or_insert(Box::new(before));
        }
        kept
    }

    pub(crate) fn assigned(&mut self, key: Key, pod: &Arc<ApiPod>, boot: u64) {
        let leaving = |pod: &ApiPod| pod.metadata.deletion_timestamp.is_some();
        let old = self.0.get(&key);
        let same = |r: &Record| {
            r.pod.spec == pod.spec
                && r.pod.metadata.generation == pod.metadata.generation
                && leaving(&r.pod) == leaving(pod)
        };
        if old.is_some_and(|r| !r.removed && same(r)) {
            return;
        }
        let kept = old.map(|r| r.kept.clone()).unwrap_or_default();
        let status = old.and_then(|r| r.status.clone());
        self.0.insert(key, Record { pod: Arc::clone(pod), status, kept, removed: false, boot });
    }

    pub(crate) fn keep(&mut self, key: Key, kept: Kept, boot: u64) {
        if let Some(record) = self.0.get_mut(&key) {
            record.kept = kept;
            record.boot = boot;
        }
    }

    /// The boot time of the end of a grace period that is kept.
    pub(crate) fn deadline(&self, key: Key) -> Option<Duration> {
        self.0.get(&key)?.kept.ends_at.map(|end| end.boot)
    }

    pub(crate) fn told(&mut self, key: Key, status: &PodStatus) {
        if let Some(record) = self.0.get_mut(&key) {
            record.status = Some(status.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn forget(&mut self, key: Key) {
        self.0.remove(&key);
    }

    /// Forgets what has no task.
    pub(crate) fn forget_others(&mut self, tasks: &BTreeMap<Key, Task>) {
        self.0.retain(|key, _| tasks.contains_key(key));
    }

    /// Forgets what `is_gone` from its source and has no task.
    pub(crate) fn forget_gone(&mut self, is_gone: impl Fn(Key) -> bool, tasks: &BTreeMap<Key, Task>) {
        self.0.retain(|key, r| r.removed || !is_gone(*key) || tasks.contains_key(key));
    }
}

/// A deadline of another boot: what the civil clock says, at most the whole grace period from now.
fn translated(deadline: Deadline, now: Now) -> Deadline {
    let left = Duration::try_from(deadline.wall.duration_since(now.wall)).unwrap_or_default();
    Deadline { boot: now.boot + left.min(deadline.grace), ..deadline }
}

/// What `spec.resources` was, where it is something else now.
fn changed_level(old: &ApiPod, new: &ApiPod) -> Option<ResourceRequirements> {
    let level = |pod: &ApiPod| pod.spec.as_ref().and_then(|spec| spec.resources.clone()).unwrap_or_default();
    Some(level(old)).filter(|before| *before != level(new))
}

fn changed_resources(old: &ApiPod, new: &ApiPod) -> Vec<(String, ResourceRequirements)> {
    let (Some(old), Some(new)) = (&old.spec, &new.spec) else { return Vec::new() };
    let before: BTreeMap<&str, Option<&ResourceRequirements>> =
        podspec::containers(old).map(|(_, c)| (c.name.as_str(), c.resources.as_ref())).collect();
    podspec::containers(new)
        .filter_map(|(_, c)| {
            let before = *before.get(c.name.as_str())?;
            (before != c.resources.as_ref()).then(|| (c.name.clone(), before.cloned().unwrap_or_default()))
        })
        .collect()
}
