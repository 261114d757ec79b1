//! The checks that a pod has to pass, in the kubelet's order (behaviour.md 2). The first that fails gives the reason.
//!
//! ```text
//!  pressure -> sysctls -> OS label -> OS field -> supplemental groups
//!           -> predicates: room, affinity, node name, host ports, taints: all are looked at
//!           -> AppArmor -> pod-level resources -> declared features -> shutdown
//! ```
//!
//! Two places are empty: resizes come before pressure, and the managers of processors, memory and devices between
//! sysctls and the predicates.

use k8s_openapi::api::core::v1::Pod as ApiPod;

use super::claim::{self, Claim, amounts};
use super::facts::Facts;
use super::fit::{self, Shortage};
use super::refusal::Refusal;
use super::{apparmor, features, os, pressure, sysctls};

type Check = fn(&ApiPod, &Facts) -> Option<Refusal>;

const BEFORE_PREDICATES: &[Check] =
    &[pressure::check, sysctls::check, os::label, os::field, features::supplemental_groups];
const AFTER_PREDICATES: &[Check] =
    &[apparmor::check, features::pod_level_resources, features::declared, shutting_down];

/// What is found out about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing speaks against it.
    Fits,
    /// Something does that no time and no other pod's end will change.
    Refused(Refusal),
    /// Only the node's labels speak against it, and those may be old.
    WrongLabels(Refusal),
    /// There is no room; nothing else that is looked at before speaks against it.
    Short(Vec<Shortage>),
}

/// Judges `pod` beside `others`.
pub(super) fn judge<'a>(
    pod: &ApiPod,
    others: impl Iterator<Item = &'a Claim> + Clone,
    facts: &Facts,
) -> Finding {
    let refused = |checks: &[Check]| checks.iter().find_map(|check| check(pod, facts));
    if let Some(refusal) = refused(BEFORE_PREDICATES) {
        return Finding::Refused(refusal);
    }
    let allocatable = amounts(&facts.allocatable);
    let wanted = fit::wanted(pod, &allocatable);
    let shortages = fit::shortages(&wanted, &claim::sum(others.clone()), &allocatable);
    let unfit = predicates(pod, others, facts);
    if shortages.is_empty() && unfit == [Predicate::NodeAffinity] {
        return Finding::WrongLabels(Predicate::NodeAffinity.refusal());
    }
    // Room can be made for a critical pod, so that only the rest is a reason to refuse it (behaviour.md 3.1).
    let critical = podspec::is_critical(pod);
    match (shortages.first(), unfit.first()) {
        (Some(shortage), Some(_)) if !critical => return Finding::Refused(shortage.refusal()),
        (_, Some(predicate)) => return Finding::Refused(predicate.refusal()),
        (Some(_), None) if !critical => return Finding::Short(shortages),
        _ => {}
    }
    match refused(AFTER_PREDICATES) {
        // Before a pod is put out for it: a kubelet does that first and refuses the critical pod all the same.
        Some(refusal) => Finding::Refused(refusal),
        None if !shortages.is_empty() => Finding::Short(shortages),
        None => Finding::Fits,
    }
}

/// What is between a pod and a node beside resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Predicate {
    NodeAffinity,
    NodeName,
    NodePorts,
    TaintToleration,
}

impl Predicate {
    fn refusal(self) -> Refusal {
        let (name, why) = match self {
            Self::NodeAffinity => ("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
            Self::NodeName => ("NodeName", "node(s) didn't match the requested node name"),
            Self::NodePorts => ("NodePorts", "node(s) didn't have free ports for the requested pod ports"),
            Self::TaintToleration => ("TaintToleration", "node(s) had taints that the pod didn't tolerate"),
        };
        Refusal::new(name, format!("Predicate {name} failed: {why}"))
    }
}

/// Those that the pod does not meet (behaviour.md 2.4 to 2.7).
fn predicates<'a>(
    pod: &ApiPod,
    mut others: impl Iterator<Item = &'a Claim>,
    facts: &Facts,
) -> Vec<Predicate> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let is_static = podspec::is_static(pod);
    // What was let in before is not judged by labels and taints that are only guessed: the API server is away.
    let guessed = !facts.seen && !is_static;
    let ports = podspec::host_ports(spec);
    let taken = |claim: &Claim| {
        claim.host_ports.iter().any(|used| ports.iter().any(|port| podspec::conflicts(port, used)))
    };
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let mut repelled =
        facts.taints.iter().filter(|t| t.effect == "NoExecute" && !podspec::tolerated(tolerations, t));
    let elsewhere = spec.node_name.as_ref().is_some_and(|name| !name.is_empty() && *name != facts.name);
    [
        (!guessed && !podspec::may_be_on_node(spec, &facts.name, &facts.labels), Predicate::NodeAffinity),
        (elsewhere, Predicate::NodeName),
        (!ports.is_empty() && others.any(taken), Predicate::NodePorts),
        (!guessed && !is_static && repelled.next().is_some(), Predicate::TaintToleration),
    ]
    .into_iter()
    .filter_map(|(unmet, predicate)| unmet.then_some(predicate))
    .collect()
}

fn shutting_down(_: &ApiPod, facts: &Facts) -> Option<Refusal> {
    facts
        .shutting_down
        .then(|| Refusal::new("NodeShutdown", "Pod was rejected as the node is shutting down."))
}

#[cfg(test)]
mod tests;
