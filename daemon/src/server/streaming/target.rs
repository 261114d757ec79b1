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

/// A kubelet's name for a pod.
pub(super) fn full_name(pod: &Pod) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}_{}", part(&pod.metadata.name), part(&pod.metadata.namespace))
}

/// A kubelet's words.
pub(super) fn not_found(container: &str) -> String {
    format!("container not found ({container:?})")
}
