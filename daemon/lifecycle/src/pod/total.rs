//! What a pod as a whole is allowed: what its cgroup and its sandbox hold (behaviour.md 21.5, 27.6, 27.10).

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod as ApiPod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Resize;
use crate::effect::Kept;

/// The pod with the resources that it is allowed, where its spec asks for others.
pub(crate) fn as_allowed<'a>(pod: &'a ApiPod, resize: &Resize) -> Cow<'a, ApiPod> {
    with(pod, &resize.allocated, resize.allocated_pod.as_deref())
}

impl Kept {
    /// The pod with the resources that it was allowed by the last daemon, where its spec asks for others.
    pub fn allowed<'a>(&self, pod: &'a ApiPod) -> Cow<'a, ApiPod> {
        with(pod, &self.allocated, self.allocated_pod.as_deref())
    }

    /// Whether the pod or one of its containers does not have yet what it is allowed.
    pub fn is_resizing(&self) -> bool {
        !self.actuated.is_empty() || self.actuated_pod.is_some()
    }
}

fn with<'a>(
    pod: &'a ApiPod,
    allocated: &BTreeMap<String, ResourceRequirements>,
    allocated_pod: Option<&ResourceRequirements>,
) -> Cow<'a, ApiPod> {
    if allocated.is_empty() && allocated_pod.is_none() {
        return Cow::Borrowed(pod);
    }
    let mut allowed = pod.clone();
    if let Some(spec) = &mut allowed.spec {
        if let Some(resources) = allocated_pod {
            spec.resources = (*resources != ResourceRequirements::default()).then(|| resources.clone());
        }
        let inits = spec.init_containers.iter_mut().flatten();
        for container in inits.chain(&mut spec.containers) {
            if let Some(resources) = allocated.get(&container.name) {
                container.resources = Some(resources.clone());
            }
        }
    }
    Cow::Owned(allowed)
}

/// Requests and limits of the pod as a whole, of processors and memory.
pub(crate) fn of(pod: &ApiPod) -> ResourceRequirements {
    let list = |list: podspec::ResourceList| {
        let changeable = list.into_iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
        let list: BTreeMap<String, Quantity> =
            changeable.map(|(name, amount)| (name, Quantity(amount.to_string()))).collect();
        (!list.is_empty()).then_some(list)
    };
    ResourceRequirements {
        claims: None,
        requests: list(podspec::pod_requests(pod)),
        limits: list(podspec::pod_limits(pod)),
    }
}
