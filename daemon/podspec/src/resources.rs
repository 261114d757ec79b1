//! What a pod and its containers ask for (behaviour.md 11.12).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::containers::{ContainerKind, containers};
use crate::quantity::Quantity;

/// Amounts by resource name (`cpu`, `memory`, ...).
pub type ResourceList = BTreeMap<String, Quantity>;

/// The requests of a container; a limit without a request stands for it. What cannot be parsed counts as nothing: the
/// API does not let it in.
pub fn container_requests(container: &Container) -> ResourceList {
    let mut requests = container_limits(container);
    requests.extend(list(container.resources.as_ref().and_then(|r| r.requests.as_ref())));
    requests
}

/// The limits of a container.
pub fn container_limits(container: &Container) -> ResourceList {
    list(container.resources.as_ref().and_then(|r| r.limits.as_ref()))
}

/// What the pod as a whole needs at its highest: the larger of the regular containers with all sidecars, and of any
/// init container with the sidecars before it; pod-level values stand above; overhead comes on top.
pub fn pod_requests(pod: &Pod) -> ResourceList {
    let Some(spec) = &pod.spec else { return ResourceList::new() };
    let mut total = aggregate(spec, container_requests);
    replace_by_pod_level(spec, &mut total, |r| r.requests.as_ref());
    add_overhead(spec, &mut total, |_| true);
    total
}

/// The limits of the pod as a whole: only of resources that every regular container and sidecar limits.
pub fn pod_limits(pod: &Pod) -> ResourceList {
    let Some(spec) = &pod.spec else { return ResourceList::new() };
    let mut total = aggregate(spec, container_limits);
    total.retain(|name, _| containers(spec).all(|(_, c)| container_limits(c).contains_key(name)));
    replace_by_pod_level(spec, &mut total, |r| r.limits.as_ref());
    let limited: Vec<String> = total.keys().cloned().collect();
    add_overhead(spec, &mut total, |name| limited.contains(name));
    total
}

/// The limits of a resource that containers have, together, with overhead on top; `None` where no container has one. Unlike in
/// [`pod_limits`] those without a limit do not matter: so local storage is limited (behaviour.md 30.4).
pub fn sum_of_limits(pod: &Pod, name: &str) -> Option<Quantity> {
    let spec = pod.spec.as_ref()?;
    let mut total = aggregate(spec, container_limits);
    replace_by_pod_level(spec, &mut total, |r| r.limits.as_ref());
    add_overhead(spec, &mut total, |of| of == name);
    let limited = containers(spec).any(|(_, c)| container_limits(c).contains_key(name));
    total.get(name).copied().filter(|_| limited)
}

/// What `spec` says about a resource of the pod as a whole; a limit without a request stands for it.
pub(crate) fn pod_level_request(spec: &PodSpec, name: &str) -> Option<Quantity> {
    let level = spec.resources.as_ref()?;
    [level.requests.as_ref(), level.limits.as_ref()].into_iter().find_map(|of| of?.get(name)?.0.parse().ok())
}

pub(crate) fn aggregate(spec: &PodSpec, of: impl Fn(&Container) -> ResourceList) -> ResourceList {
    let mut running = ResourceList::new();
    let mut sidecars = ResourceList::new();
    let mut inits = ResourceList::new();
    for (kind, container) in containers(spec) {
        let own = of(container);
        match kind {
            ContainerKind::Regular => add(&mut running, &own),
            ContainerKind::Sidecar => {
                add(&mut sidecars, &own);
                raise(&mut inits, &sidecars);
            }
            ContainerKind::Init => {
                let mut with_sidecars = own;
                add(&mut with_sidecars, &sidecars);
                raise(&mut inits, &with_sidecars);
            }
        }
    }
    add(&mut running, &sidecars);
    raise(&mut running, &inits);
    running
}

fn replace_by_pod_level(
    spec: &PodSpec,
    total: &mut ResourceList,
    of: impl Fn(&ResourceRequirements) -> Option<&BTreeMap<String, ApiQuantity>>,
) {
    total.extend(list(spec.resources.as_ref().and_then(of)));
}

fn add_overhead(spec: &PodSpec, total: &mut ResourceList, wanted: impl Fn(&String) -> bool) {
    let mut overhead = list(spec.overhead.as_ref());
    overhead.retain(|name, _| wanted(name));
    add(total, &overhead);
}

fn add(total: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        let sum = total.get(name).map_or(*amount, |t| t.plus(amount));
        total.insert(name.clone(), sum);
    }
}

fn raise(total: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        if total.get(name).is_none_or(|t| t < amount) {
            total.insert(name.clone(), *amount);
        }
    }
}

pub(crate) fn list(api: Option<&BTreeMap<String, ApiQuantity>>) -> ResourceList {
    api.into_iter().flatten().filter_map(|(name, q)| Some((name.clone(), q.0.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests;
