//! Names that follow from a pod.

use k8s_openapi::api::core::v1::Pod;

/// `namespace/name`.
pub fn pod_full_name(pod: &Pod) -> String {
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

/// The pod's directory below the log directory: `namespace_name_uid`.
pub fn log_dir_name(pod: &Pod) -> String {
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    format!("{}_{}_{}", part(&pod.metadata.namespace), part(&pod.metadata.name), part(&pod.metadata.uid))
}

/// `name_namespace(uid)`, as a kubelet's messages name a pod.
pub fn long_pod_name(pod: &Pod) -> String {
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    let meta = &pod.metadata;
    format!("{}_{}({})", part(&meta.name), part(&meta.namespace), part(&meta.uid))
}
