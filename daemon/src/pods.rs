//! The pods of this node: one task for each, and what finds them their work.
//!
//! ```text
//!   sources (API, files) --+                        +-- pod task: lifecycle::Pod, its calls, its status writer
//!   runtime events --------+--> supervisor --mail--> +-- pod task
//!   audit of the runtime --+                        +-- ...        asks the node task: admission, start slots
//! ```
//!
//! The supervisor only tells and starts; it decides nothing about a pod. It starts a task for each pod that a source
//! has, and, once every source has spoken, for each pod that only the runtime has (an orphan). Nothing here survives a
//! crash: sources, runtime and API have it all.

mod mailbox;
mod node_task;
mod publisher;
mod status_patch;
mod task;
mod urgency;
mod view;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cgroups::Tier;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lifecycle::{Assignment, Origin, PullLimits, Settings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

#[cfg(test)]
pub(crate) use mailbox::Letter;
pub(crate) use mailbox::Mailbox;
pub(crate) use node_task::NodeSide;
pub(crate) use publisher::Publisher;
pub(crate) use view::{Evictable, Running, RunningPod, Shown};

use crate::cgroups::Adopted;
use crate::clock;
use crate::eviction::{self, Ending};
use crate::explain::Question;
use crate::garbage::Trimmed;
use crate::health::Ping;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::probes::Probing;
use crate::runtime::{Executor, Found, RuntimeEvent};
use crate::sources::{self, Source, Update};
use crate::stop::stopped;
use node_task::Ask;
use task::{PodTask, Shared};

/// Questions to the node task that may wait; pods wait beyond that.
const NODE_QUEUE: usize = 1024;

/// How long the API server may take to tell the pods of this node before those of the last run are taken up.
const API_PATIENCE: Duration = Duration::from_secs(5);

/// How often directories of pods that nobody knows are looked for, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Handle {
    mailbox: Mailbox,
    source: Option<Source>,
    namespace: String,
    name: String,
    /// What a source said after the pod had gone from it, or had been taken for an orphan: a pod of the same UID to be
    /// started anew.
    next: Option<(Source, Assignment)>,
    removed: bool,
    /// Where its cgroup is, if it has one.
    tier: Tier,
    /// What it began with, until the cgroups that earlier daemons left were looked through.
    first: Option<Box<Assignment>>,
}

/// Everything that the supervisor needs.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) updates: mpsc::Receiver<Update>,
    pub(crate) runtime: mpsc::Receiver<RuntimeEvent>,
    pub(crate) host_ips: watch::Receiver<Vec<String>>,
    /// Counts up when the mirror of a static pod was made.
    pub(crate) mirrors: watch::Receiver<u64>,
    /// Who wants to know what was recorded of a pod.
    pub(crate) questions: mpsc::Receiver<Question>,
    /// Pods that the node ends because it runs short.
    pub(crate) endings: mpsc::Receiver<Ending>,
    /// Whether the supervisor and the node task are alive.
    pub(crate) pings: mpsc::Receiver<Ping>,
    /// Dead containers that are to go.
    pub(crate) trims: mpsc::Receiver<Trimmed>,
    /// The sources that must have spoken before anything is taken for an orphan.
    pub(crate) sources: Vec<Source>,
}

/// What the pod tasks work with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) executor: Executor,
    pub(crate) publisher: Publisher,
    pub(crate) shown: Shown,
    pub(crate) ledger: Ledger,
    pub(crate) node: NodeSide,
    pub(crate) metrics: Metrics,
    pub(crate) probing: Probing,
}

/// The supervisor; see the module's page.
#[derive(Debug)]
pub(crate) struct Pods {
    shared: Shared,
    handles: HashMap<String, Handle>,
    tasks: JoinSet<String>,
    awaited: HashSet<Source>,
    /// When directories of pods that nobody knows were looked for.
    swept: Option<Instant>,
    sweep_every: Duration,
    cgroups_swept: bool,
    /// UIDs that the runtime had when it was first read; `None` until then.
    in_runtime: Option<HashMap<String, Found>>,
    /// Static pods that came before the runtime was read: they may run under another UID.
    early: Vec<(Source, Arc<ApiPod>)>,
    /// The UID that a static pod runs under, where a kubelet has started it, by the one that its manifest gives it.
    adopted: HashMap<String, String>,
    /// Pods of which nothing was left, and when that was known: an audit that began before may still show them. Kept until one
    /// comes that cannot.
    ended: HashMap<String, Instant>,
    metrics: Metrics,
    /// Assignments that came before the runtime could be read.
    host_ips: watch::Receiver<Vec<String>>,
}

impl Pods {
    /// Makes the supervisor and the node task.
    pub(crate) fn new(settings: Settings, pulls: PullLimits, parts: Parts, inputs: &Inputs) -> Self {
        let (node, asks) = mpsc::channel(NODE_QUEUE);
        let Parts { executor, publisher, shown, ledger, node: side, metrics, probing } = parts;
        tokio::spawn(node_task::run(asks, pulls, side, publisher.clone(), metrics.clone()));
        Self {
            shared: Shared {
                settings: Arc::new(settings),
                executor,
                publisher,
                node,
                shown,
                ledger,
                probing,
                work: metrics.work(),
            },
            handles: HashMap::new(),
            tasks: JoinSet::new(),
            awaited: inputs.sources.iter().copied().collect(),
            swept: None,
            sweep_every: SWEEP_EVERY,
            cgroups_swept: false,
            in_runtime: None,
            early: Vec::new(),
            adopted: HashMap::new(),
            ended: HashMap::new(),
            metrics,
            host_ips: inputs.host_ips.clone(),
        }
    }

    /// Runs until `stop`; the pods stay as they are.
    pub(crate) async fn run(mut self, mut inputs: Inputs, mut stop: watch::Receiver<bool>) {
        let patience = tokio::time::sleep(API_PATIENCE);
        tokio::pin!(patience);
        let mut waits = self.awaited.contains(&Source::Api);
        loop {
            tokio::select! {
                biased;
                // Cancel-safe: a level.
                () = stopped(&mut stop) => return,
                // Cancel-safe: receiving takes nothing until it returns.
                Some(update) = inputs.updates.recv() => self.updated(update).await,
                Some(event) = inputs.runtime.recv() => self.runtime(event).await,
                Ok(()) = inputs.host_ips.changed() => {
                    let ips = inputs.host_ips.borrow_and_update().clone();
                    for handle in self.handles.values() {
                        handle.mailbox.host_ips(ips.clone());
                    }
                }
                // Cancel-safe: a level.
                Ok(()) = inputs.mirrors.changed() => {
                    for handle in self.handles.values().filter(|h| matches!(h.source, Some(Source::File | Source::Http))) {
                        handle.mailbox.republish();
                    }
                }
                Some(question) = inputs.questions.recv() => {
                    for handle in self.handles.values() {
                        if handle.name == question.name && handle.namespace == question.namespace {
                            handle.mailbox.explain(question.reply.clone());
                        }
                    }
                }
                // Cancel-safe: receiving takes nothing until it returns.
                Some(ending) = inputs.endings.recv() => {
                    let Ending { uid, message, grace, disrupts } = ending;
                    if let Some(handle) = self.handles.get(&uid) {
                        handle.mailbox.kill(eviction::REASON.to_owned(), message, Some(grace), disrupts);
                    }
                }
                // Cancel-safe: the same.
                Some(Trimmed { uid, ids }) = inputs.trims.recv() => {
                    if let Some(handle) = self.handles.get(&uid) {
                        handle.mailbox.trim(ids);
                    }
                }
                Some(ping) = inputs.pings.recv() => self.tell_node(Ask::Ping(ping)).await,
                // Cancel-safe: a deadline.
                () = &mut patience, if waits => {
                    waits = false;
                    self.take_up_kept().await;
                }
                // Cancel-safe: as JoinSet says.
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => match ended {
                    Ok(uid) => self.ended(&uid).await,
                    Err(error) => tracing::error!(%error, "a pod's task has ended by itself"),
                },
            }
        }
    }

    async fn updated(&mut self, update: Update) {
        match update {
            Update::Listed { source, pods } => {
                let given: HashSet<&str> = pods.iter().filter_map(|p| p.metadata.uid.as_deref()).collect();
                self.early.retain(|(from, pod)| {
                    *from != source || pod.metadata.uid.as_deref().is_some_and(|uid| given.contains(uid))
                });
                let listed: HashSet<&str> =
                    given.iter().map(|uid| self.adopted.get(*uid).map_or(*uid, String::as_str)).collect();
                for (uid, handle) in &mut self.handles {
                    if handle.source == Some(source) && !listed.contains(uid.as_str()) {
                        handle.removed = true;
                        handle.next = None;
                        handle.mailbox.remove(None);
                        self.shared.ledger.removed(uid);
                    }
                }
                if source == Source::Api {
                    let gone = |pod: &Arc<ApiPod>| {
                        pod.metadata.uid.clone().filter(|uid| !listed.contains(uid.as_str()))
                    };
                    for uid in self.shared.ledger.pods().iter().filter_map(gone) {
                        if !self.handles.contains_key(&uid) {
                            self.shared.ledger.forget(&uid);
                        }
                    }
                }
                for pod in pods {
                    self.assign(source, pod).await;
                }
                self.awaited.remove(&source);
                self.take_orphans().await;
            }
            Update::Applied { source, pod } => self.assign(source, pod).await,
            Update::Removed { source, uid, grace, .. } => {
                self.early.retain(|(_, pod)| pod.metadata.uid.as_ref() != Some(&uid));
                let uid = self.adopted.get(&uid).cloned().unwrap_or(uid);
                if let Some(handle) = self.handles.get_mut(&uid).filter(|h| h.source == Some(source)) {
                    handle.removed = true;
                    handle.next = None;
                    handle.mailbox.remove(grace);
                    // Also where a kill comes in between it is not run again.
                    self.shared.ledger.removed(&uid);
                } else if let Some(handle) = self.handles.get_mut(&uid) {
                    handle.next = None;
                }
            }
        }
    }

    async fn assign(&mut self, source: Source, pod: Arc<ApiPod>) {
        let origin = if sources::is_static(&pod) { Origin::Static } else { Origin::Api };
        let pod = if origin == Origin::Static { self.as_it_runs(source, pod) } else { Some(pod) };
        let Some((pod, uid)) = pod.and_then(|pod| pod.metadata.uid.clone().map(|uid| (pod, uid))) else {
            return;
        };
        if !self.handles.contains_key(&uid)
            && let Some(left) = self.shared.ledger.removed_pod(&uid)
        {
            self.end_left(uid.clone(), left).await;
        }
        if let Some(handle) = self.handles.get_mut(&uid).filter(|h| h.removed || h.source.is_none()) {
            // Its end comes first, and then another life of it.
            handle.next = Some((source, Assignment::new(pod, origin)));
            return;
        }
        let kept = self.shared.ledger.kept(&pod, clock::now());
        let known = self.shared.ledger.knows(&uid);
        self.shared.ledger.assigned(&pod);
        if origin == Origin::Static {
            self.shared.ledger.write_now(&uid);
        }
        let assignment = Assignment { pod, origin, kept };
        match self.handles.get_mut(&uid) {
            Some(handle) => handle.mailbox.assign(assignment),
            None => self.start(uid, Some(source), assignment, known).await,
        }
    }

    /// A static pod under the UID that it runs under; `None` as long as that is not known.
    ///
    /// A kubelet gives static pods other UIDs than this program does. One that it has left running, with the same full name
    /// and the same containers, goes on under its own. Of what this program has run the ledger knows the manifest: another
    /// one is run anew.
    fn as_it_runs(&mut self, source: Source, pod: Arc<ApiPod>) -> Option<Arc<ApiPod>> {
        let uid = pod.metadata.uid.clone()?;
        let Some(found) = &self.in_runtime else {
            self.early.retain(|(_, early)| early.metadata.uid.as_ref() != Some(&uid));
            self.early.push((source, pod));
            return None;
        };
        if !self.adopted.contains_key(&uid) && !self.handles.contains_key(&uid) {
            let fits = |(running, found): &(&String, &Found)| {
                is_made_from(&pod, found)
                    && !self.handles.contains_key(*running)
                    && self.shared.ledger.manifest(running).is_none_or(|hash| hash == uid)
            };
            if let Some((running, _)) = found.iter().find(fits) {
                tracing::info!(uid = running, "a static pod that a kubelet has started goes on");
                self.adopted.insert(uid.clone(), running.clone());
            }
        }
        let Some(running) = self.adopted.get(&uid) else { return Some(pod) };
        let mut own = ApiPod::clone(&pod);
        own.metadata.uid = Some(running.clone());
        Some(Arc::new(own))
    }

    /// After a start without an API server: the pods of the last run go on, or come up again after a reboot. The first list
    /// puts right what has changed meanwhile.
    async fn take_up_kept(&mut self) {
        if !self.awaited.contains(&Source::Api) {
            return;
        }
        let pods = self.shared.ledger.pods();
        if !pods.is_empty() {
            tracing::info!(
                pods = pods.len(),
                "the API server does not answer: the pods of the last run go on"
            );
        }
        for pod in pods {
            self.assign(Source::Api, pod).await;
        }
        self.end_removed(|pod| !sources::is_static(pod)).await;
        self.tell_gathered().await;
    }

    /// Goes on with the end of pods that were taken away from the last daemon, where there is anything of them left.
    async fn end_removed(&mut self, is_meant: impl Fn(&ApiPod) -> bool) {
        let Some(found) = &self.in_runtime else { return };
        let mut left = Vec::new();
        for pod in self.shared.ledger.removed_pods() {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            if self.handles.contains_key(&uid) || !is_meant(&pod) {
                continue;
            }
            if found.contains_key(&uid) { left.push((uid, pod)) } else { self.shared.ledger.forget(&uid) }
        }
        for (uid, pod) in left {
            self.end_left(uid, pod).await;
        }
    }

    async fn end_left(&mut self, uid: String, pod: Arc<ApiPod>) {
        let kept = self.shared.ledger.kept(&pod, clock::now());
        let assignment = Assignment { pod, origin: Origin::Orphan, kept };
        self.start(uid, None, assignment, true).await;
    }

    async fn start(&mut self, uid: String, source: Option<Source>, assignment: Assignment, known: bool) {
        let mailbox = Mailbox::default();
        let part = |s: &Option<String>| s.clone().unwrap_or_default();
        let handle = Handle {
            mailbox: mailbox.clone(),
            source,
            namespace: part(&assignment.pod.metadata.namespace),
            name: part(&assignment.pod.metadata.name),
            next: None,
            removed: false,
            tier: cgroups::pod_tier(&assignment.pod),
            first: (!self.cgroups_swept).then(|| Box::new(assignment.clone())),
        };
        let unknown = self.in_runtime.as_ref().is_some_and(|found| !found.contains_key(&uid));
        mailbox.assign(assignment.clone());
        let ips = self.host_ips.borrow().clone();
        // By the supervisor, so that all that have come are known to the node when it is told so.
        let expect = Ask::Expect { pod: Arc::clone(&assignment.pod), mailbox: mailbox.clone(), known };
        self.tell_node(expect).await;
        let task = PodTask::new(self.shared.clone(), mailbox, assignment, ips, unknown);
        self.handles.insert(uid, handle);
        self.tasks.spawn(Box::new(task).run());
    }

    async fn ended(&mut self, uid: &str) {
        if let Some(found) = &mut self.in_runtime {
            found.remove(uid);
        }
        self.ended.insert(uid.to_owned(), Instant::now());
        self.shared.ledger.forget(uid);
        self.adopted.retain(|_, running| running != uid);
        let Some(handle) = self.handles.remove(uid) else { return };
        tracing::info!(pod = %format_args!("{}/{}", handle.namespace, handle.name), uid, "nothing is left of the pod");
        if let Some((source, next)) = handle.next {
            self.shared.ledger.assigned(&next.pod);
            self.start(uid.to_owned(), Some(source), next, false).await;
        }
    }

    async fn runtime(&mut self, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Changed { uid, news } => match self.handles.get(&uid) {
                Some(handle) => handle.mailbox.news(news),
                None => tracing::debug!(uid, "the runtime tells of a pod that is not known here"),
            },
            RuntimeEvent::Back => {
                for handle in self.handles.values() {
                    handle.mailbox.runtime_back();
                }
            }
            RuntimeEvent::Audited { begun, mut found } => {
                for (uid, handle) in &self.handles {
                    let before = self.in_runtime.as_ref().and_then(|f| f.get(uid));
                    if before.map(|f| f.digest) != found.get(uid).map(|f| f.digest) {
                        handle.mailbox.runtime_changed();
                    }
                }
                self.ended.retain(|uid, at| {
                    let outdated = *at >= begun;
                    if outdated {
                        found.remove(uid);
                    }
                    outdated
                });
                self.in_runtime = Some(found);
                for (source, pod) in std::mem::take(&mut self.early) {
                    self.assign(source, pod).await;
                }
                self.take_orphans().await;
            }
        }
    }

    /// What only the runtime has is stopped and removed, once every source has spoken (behaviour.md 1.13, 4.14).
    async fn take_orphans(&mut self) {
        if !self.awaited.is_empty() {
            return;
        }
        self.end_removed(|_| true).await;
        let Some(found) = &self.in_runtime else { return };
        let mut orphans: BTreeMap<String, (String, String)> = found
            .iter()
            .filter(|(uid, _)| !self.handles.contains_key(*uid))
            .map(|(uid, found)| (uid.clone(), (found.namespace.clone(), found.name.clone())))
            .collect();
        for (uid, (namespace, name)) in &orphans {
            self.metrics.orphan_found();
            tracing::warn!(
                pod = %format_args!("{namespace}/{name}"),
                uid,
                "a pod that no source has runs here; it is stopped"
            );
            self.shared.publisher.orphan(namespace, name, uid);
        }
        if self.swept.is_none_or(|at| at.elapsed() >= self.sweep_every) {
            self.swept = Some(Instant::now());
            // A daemon that was killed may have left directories of a pod that is nowhere else any more (behaviour.md 38.8, 40.6).
            for (uid, namespace, name) in self.shared.executor.pods_on_disk() {
                if !self.handles.contains_key(&uid) {
                    orphans.entry(uid).or_insert((namespace, name));
                }
            }
        }
        for (uid, (namespace, name)) in orphans {
            let pod = Arc::new(ApiPod {
                metadata: ObjectMeta {
                    name: Some(name),
                    namespace: Some(namespace),
                    uid: Some(uid.clone()),
                    ..ObjectMeta::default()
                },
                ..ApiPod::default()
            });
            self.start(uid, None, Assignment::new(pod, Origin::Orphan), false).await;
        }
        if !std::mem::replace(&mut self.cgroups_swept, true) {
            self.sweep_cgroups();
        }
        self.tell_gathered().await;
    }

    /// Cgroups that an earlier daemon, or a kubelet, has left of pods that nobody knows any more are removed (behaviour.md
    /// 39.7). They are looked for at once, before any other pod can come; their removal may take its time.
    fn sweep_cgroups(&mut self) {
        let Some(cgroups) = self.shared.executor.cgroups().cloned() else { return };
        let known = self.handles.iter().map(|(uid, handle)| (uid.clone(), handle.tier)).collect();
        let mut running = Vec::new();
        for (uid, handle) in &mut self.handles {
            let Some(first) = handle.first.take() else { continue };
            let is_there = self.in_runtime.as_ref().is_some_and(|found| found.contains_key(uid));
            // Of an orphan nobody knows what its cgroup is to hold.
            if is_there && first.origin != Origin::Orphan {
                let pod = first.kept.allowed(&first.pod).into_owned();
                running.push(Adopted { pod, is_resizing: first.kept.is_resizing() });
            }
        }
        let adopting = cgroups.clone();
        tokio::spawn(async move {
            for error in adopting.adopt(running).await {
                let error = crate::cause::chain(&error);
                tracing::warn!(error, "the cgroups of pods that run on cannot be written");
            }
        });
        match cgroups.orphans(&known) {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => {
                let uids: Vec<&str> = lost.iter().map(|pod| pod.uid.as_str()).collect();
                tracing::info!(?uids, "cgroups of pods that nobody knows are removed");
                tokio::spawn(async move { cgroups.remove_found(&lost).await });
            }
            Err(error) => {
                let error = crate::cause::chain(&error);
                tracing::warn!(error, "cgroups of pods that nobody knows cannot be looked for");
            }
        }
    }

    async fn tell_gathered(&self) {
        self.tell_node(Ask::Gathered).await;
    }

    /// Waits for room in the node task's queue, at most; it lives as long as the daemon.
    async fn tell_node(&self, ask: Ask) {
        drop(self.shared.node.send(ask).await);
    }
}

/// Whether what the runtime has comes from a manifest of this pod's name, with containers of the same definitions.
fn is_made_from(pod: &ApiPod, found: &Found) -> bool {
    let (Some(hashes), Some(spec)) = (&found.manifest, &pod.spec) else { return false };
    let same = |(name, hash): (&String, &String)| {
        podspec::containers(spec).any(|(_, c)| c.name == *name && podspec::container_hash(c) == *hash)
    };
    pod.metadata.namespace.as_ref() == Some(&found.namespace)
        && pod.metadata.name.as_ref() == Some(&found.name)
        && !hashes.is_empty()
        && hashes.iter().all(same)
}

#[cfg(test)]
mod tests;
