//! The containers of a pod, of every kind, as one list.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

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

/// An ephemeral container in the form of the others; the API has a type of its own for it, with the same fields and one more.
pub fn ephemeral_as_container(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        name: e.name,
        image: e.image,
        command: e.command,
        args: e.args,
        working_dir: e.working_dir,
        ports: e.ports,
        env_from: e.env_from,
        env: e.env,
        resources: e.resources,
        resize_policy: e.resize_policy,
        restart_policy: e.restart_policy,
        restart_policy_rules: e.restart_policy_rules,
        volume_mounts: e.volume_mounts,
        volume_devices: e.volume_devices,
        liveness_probe: e.liveness_probe,
        readiness_probe: e.readiness_probe,
        startup_probe: e.startup_probe,
        lifecycle: e.lifecycle,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        image_pull_policy: e.image_pull_policy,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
    }
}
