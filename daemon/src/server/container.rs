//! A container of a pod, as the path of a request names it: of whatever kind, its name is the pod's only one.

use k8s_openapi::api::core::v1::Pod;

/// Whether the pod has a container of this name.
pub(super) fn exists(pod: &Pod, name: &str) -> bool {
    has_tty(pod, name).is_some()
}

/// Whether the container of this name has a terminal; `None` where the pod has no such container.
pub(super) fn has_tty(pod: &Pod, name: &str) -> Option<bool> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    let container = spec.containers.iter().chain(init).find(|container| container.name == name);
    if let Some(container) = container {
        return Some(container.tty == Some(true));
    }
    let ephemeral = spec.ephemeral_containers.iter().flatten().find(|container| container.name == name)?;
    Some(ephemeral.tty == Some(true))
}

/// The runtime's id of the container of this name, if it runs.
pub(super) fn running(pod: &Pod, name: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let lists =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|status| status.name == name)?;
    found.state.as_ref()?.running.as_ref()?;
    let id = bare_id(found.container_id.as_deref()?);
    (!id.is_empty()).then(|| id.to_owned())
}

/// `containerd://ID` to `ID`.
pub(super) fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, bare)| bare)
}
