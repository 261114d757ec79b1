//! The containers of a pod, of every kind, as one list.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// Where in the spec a container stands and what that means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerKind {
    /// Runs to completion before the next.
    Init,
    /// An init container with restart policy `Always`: runs beside the others from its place on.
    Sidecar,
    /// The pod's work.
    Regular,
}

/// Init containers and sidecars in order, then the regular ones; ephemeral containers have a type of their own.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = (ContainerKind, &Container)> {
    let init = spec.init_containers.iter().flatten().map(|c| {
        let sidecar = c.restart_policy.as_deref() == Some("Always");
        (if sidecar { ContainerKind::Sidecar } else { ContainerKind::Init }, c)
    });
    init.chain(spec.containers.iter().map(|c| (ContainerKind::Regular, c)))
}

/// The policy in force for a container: its own, else the pod's, else `Always`.
pub fn restart_policy<'a>(spec: &'a PodSpec, container: &'a Container) -> &'a str {
    container.restart_policy.as_deref().or(spec.restart_policy.as_deref()).unwrap_or("Always")
}
