//! Pods for another operating system (behaviour.md 2.8, 2.9).

use k8s_openapi::api::core::v1::Pod as ApiPod;

use super::facts::Facts;
use super::refusal::Refusal;

const OS: &str = "linux";
const LABEL: &str = "kubernetes.io/os";

/// The pod's own label, not its selector. The node's label is always `linux`: the daemon puts it back.
pub(super) fn label(pod: &ApiPod, _: &Facts) -> Option<Refusal> {
    let wanted = pod.metadata.labels.as_ref()?.get(LABEL)?;
    (wanted != OS).then(|| {
        Refusal::new(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        )
    })
}

pub(super) fn field(pod: &ApiPod, _: &Facts) -> Option<Refusal> {
    let os = pod.spec.as_ref()?.os.as_ref()?;
    (os.name != OS).then(|| {
        Refusal::new("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    })
}
