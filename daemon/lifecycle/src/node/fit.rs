//! Whether the node has what a pod asks for (behaviour.md 2.3).

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, Pod as ApiPod, PodExtendedResourceClaimStatus};

use super::claim::{Amounts, PODS, amounts};
use super::refusal::Refusal;

/// One resource of which there is too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) resource: String,
    requested: i64,
    used: i64,
    capacity: i64,
}

impl Shortage {
    /// How much must become free.
    pub(super) fn missing(&self) -> i64 {
        self.requested.saturating_sub(self.capacity.saturating_sub(self.used))
    }

    pub(super) fn refusal(&self) -> Refusal {
        let Self { resource, requested, used, capacity } = self;
        Refusal::new(
            format!("OutOf{resource}"),
            format!(
                "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
        )
    }
}

/// What `pod` needs of the node itself: not what a claim brings along, and no extended resource that the node does not
/// know, which is handed out by somebody else.
pub(super) fn wanted(pod: &ApiPod, allocatable: &Amounts) -> Amounts {
    let mut wanted = amounts(&podspec::pod_requests(&without_claimed(pod)));
    wanted.retain(|name, _| !is_extended(name) || allocatable.contains_key(name));
    wanted.insert(PODS.to_owned(), 1);
    wanted
}

/// All that is short, the number of pods first, then by weight, as the scheduler has it.
pub(super) fn shortages(wanted: &Amounts, used: &Amounts, allocatable: &Amounts) -> Vec<Shortage> {
    const FIRST: [&str; 4] = [PODS, "cpu", "memory", "ephemeral-storage"];
    let others = wanted.keys().map(String::as_str).filter(|name| !FIRST.contains(name));
    let short = |name: &str| {
        let of = |amounts: &Amounts| amounts.get(name).copied().unwrap_or(0);
        let (requested, used, capacity) = (of(wanted), of(used), of(allocatable));
        // Nothing of a resource can always be had, also where too much of it is taken.
        (requested > 0 && requested > capacity.saturating_sub(used)).then(|| Shortage {
            resource: name.to_owned(),
            requested,
            used,
            capacity,
        })
    };
    FIRST.into_iter().chain(others).filter_map(short).collect()
}

/// Of a domain that is not Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// The pod without the extended resources that a resource claim brings.
fn without_claimed(pod: &ApiPod) -> Cow<'_, ApiPod> {
    let Some(claimed) = pod.status.as_ref().and_then(|s| s.extended_resource_claim_status.as_ref()) else {
        return Cow::Borrowed(pod);
    };
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            remove_claimed(container, claimed);
        }
    }
    Cow::Owned(pod)
}

fn remove_claimed(container: &mut Container, claimed: &PodExtendedResourceClaimStatus) {
    let name = container.name.clone();
    let Some(resources) = &mut container.resources else { return };
    for list in [&mut resources.requests, &mut resources.limits].into_iter().flatten() {
        list.retain(|resource, _| {
            let mapped = |m: &k8s_openapi::api::core::v1::ContainerExtendedResourceRequest| {
                m.container_name == name && m.resource_name == *resource
            };
            !is_extended(resource) || !claimed.request_mappings.iter().any(mapped)
        });
    }
}
