//! What the scheduler keeps of a pod: little of one that runs somewhere, a little more of one that waits for a node.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, Pod, PodSpec, PreferredSchedulingTerm, Toleration};
use podspec::{ContainerKind, HostPort, QosClass};

use crate::amounts::Amounts;
use crate::storage::Wanted;

/// The name by which pods ask for this scheduler.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// For the scores a container without a request counts as much as a small one.
const SCORED_MILLI_CPU: i64 = 100;
const SCORED_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// Which pod: enough to bind it and to report on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodRef {
    pub(crate) uid: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) resource_version: Arc<str>,
    /// Counts changes of the spec.
    pub(crate) generation: i64,
}

/// A pod that takes part: it runs on a node, or it waits for one.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) reference: PodRef,
    pub(crate) load: Load,
    pub(crate) standing: Standing,
}

/// What a pod takes from the node where it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: Amounts,
    /// The same for the scores, where no request is not nothing.
    pub(crate) scored: Amounts,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) priority: i32,
}

#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// On this node.
    Bound(Arc<str>),
    /// In want of a node.
    Waiting(Box<Wish>),
    /// Neither: it has ended, is being deleted before it had a node, is gated, or is another scheduler's.
    Aside,
}

/// What a pod wants of its node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wish {
    pub(crate) priority: i32,
    /// Whether it may take the place of pods of lower priority (`preemptionPolicy`).
    pub(crate) preempts: bool,
    /// Seconds since the epoch.
    pub(crate) created: i64,
    pub(crate) best_effort: bool,
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) required: Option<NodeSelector>,
    pub(crate) preferred: Vec<PreferredSchedulingTerm>,
    pub(crate) tolerations: Vec<Toleration>,
    /// The claims of its volumes.
    pub(crate) claims: Vec<Wanted>,
    /// A field that would be broken if the pod was bound, because no plugin carries it out.
    pub(crate) unsupported: Option<&'static str>,
    /// The message of its condition, so that the same is not written twice.
    pub(crate) reported: Option<Box<str>>,
}

impl Wish {
    /// Whether another try may end differently.
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        let same = |wish: &Self| Self { reported: None, ..wish.clone() };
        same(self) == same(other)
    }
}

impl PodInfo {
    /// What is kept of `pod`.
    pub(crate) fn of(pod: &Pod) -> Self {
        let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        let metadata = &pod.metadata;
        let reference = PodRef {
            uid: text(&metadata.uid),
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            resource_version: text(&metadata.resource_version),
            generation: metadata.generation.unwrap_or(0),
        };
        let standing = standing(pod);
        Self { reference, load: load(pod), standing }
    }
}

fn standing(pod: &Pod) -> Standing {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let Some(spec) = &pod.spec else { return Standing::Aside };
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return Standing::Aside;
    }
    if let Some(node) = spec.node_name.as_deref().filter(|n| !n.is_empty()) {
        return Standing::Bound(node.into());
    }
    let name = spec.scheduler_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(SCHEDULER_NAME);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty());
    if name != SCHEDULER_NAME || gated || pod.metadata.deletion_timestamp.is_some() {
        return Standing::Aside;
    }
    Standing::Waiting(Box::new(wish(pod, spec)))
}

fn wish(pod: &Pod, spec: &PodSpec) -> Wish {
    let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    Wish {
        priority: podspec::priority(pod),
        preempts: spec.preemption_policy.as_deref() != Some("Never"),
        created: pod.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
        best_effort: podspec::qos_class(pod) == QosClass::BestEffort,
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        required: node_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.clone()),
        preferred: node_affinity
            .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.clone())
            .unwrap_or_default(),
        tolerations: spec.tolerations.clone().unwrap_or_default(),
        claims: claims(pod, spec),
        unsupported: unsupported(spec),
        reported: reported(pod),
    }
}

/// The first field whose meaning would be lost.
fn unsupported(spec: &PodSpec) -> Option<&'static str> {
    let affinity = spec.affinity.as_ref();
    let required = |terms: Option<&Vec<_>>| terms.is_some_and(|t| !t.is_empty());
    let with = affinity.and_then(|a| a.pod_affinity.as_ref());
    let apart = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    if required(with.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())) {
        return Some("spec.affinity.podAffinity");
    }
    if required(apart.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())) {
        return Some("spec.affinity.podAntiAffinity");
    }
    if spec.topology_spread_constraints.iter().flatten().any(|c| c.when_unsatisfiable == "DoNotSchedule") {
        return Some("spec.topologySpreadConstraints");
    }
    if spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty()) {
        return Some("spec.resourceClaims");
    }
    None
}

fn claims(pod: &Pod, spec: &PodSpec) -> Vec<Wanted> {
    let own = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| {
        if let Some(claim) = &volume.persistent_volume_claim {
            return Some(Wanted { name: claim.claim_name.as_str().into(), ephemeral: false });
        }
        volume.ephemeral.as_ref()?;
        Some(Wanted { name: format!("{own}-{}", volume.name).into(), ephemeral: true })
    };
    volumes.filter_map(claim).collect()
}

fn reported(pod: &Pod) -> Option<Box<str>> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    scheduled.message.as_deref().map(Box::from)
}

fn load(pod: &Pod) -> Load {
    let requests = Amounts::of(&podspec::pod_requests(pod));
    let mut scored =
        Amounts { milli_cpu: requests.milli_cpu, memory_bytes: requests.memory_bytes, ..Amounts::default() };
    let priority = podspec::priority(pod);
    let Some(spec) = &pod.spec else { return Load { requests, scored, ports: Vec::new(), priority } };
    for (kind, container) in podspec::containers(spec) {
        if kind == ContainerKind::Init {
            continue;
        }
        let own = podspec::container_requests(container);
        if !own.contains_key("cpu") {
            scored.milli_cpu = scored.milli_cpu.saturating_add(SCORED_MILLI_CPU);
        }
        if !own.contains_key("memory") {
            scored.memory_bytes = scored.memory_bytes.saturating_add(SCORED_MEMORY_BYTES);
        }
    }
    Load { requests, scored, ports: podspec::host_ports(spec), priority }
}

#[cfg(test)]
mod tests;
