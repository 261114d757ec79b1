//! The pod and the container that a request is about.

use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;

use crate::server::Context;
use crate::server::endpoint::Found;
use crate::server::reply::{self, Reply};

/// The pod of the path, and the container's name in the path.
///
/// # Errors
/// A kubelet's refusal.
pub(super) fn pod<'a>(context: &Context, found: &'a Found) -> Result<(Pod, &'a str), Box<Reply>> {
    let pod = context.pods.find(found.value("namespace"), found.value("pod"));
    let pod = pod.ok_or_else(|| Box::new(reply::text(StatusCode::NOT_FOUND, "pod does not exist")))?;
    Ok((pod, found.value("container")))
}

/// The id of the container of this name, if it runs.
pub(super) fn running(pod: &Pod, name: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let lists =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|status| status.name == name)?;
    found.state.as_ref()?.running.as_ref()?;
    let id = found.container_id.as_deref()?;
    let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
    (!bare.is_empty()).then(|| bare.to_owned())
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

/// A kubelet's name for a pod.
pub(super) fn full_name(pod: &Pod) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}_{}", part(&pod.metadata.name), part(&pod.metadata.namespace))
}

/// A kubelet's words.
pub(super) fn not_found(container: &str) -> String {
    format!("container not found ({container:?})")
}
