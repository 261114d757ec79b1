//! What follows the exit of a container (behaviour.md 11.15 to 11.18).

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod as ApiPod};

use super::{ContainerKind, restart_policy, specs};
use crate::observation::Container;

/// What is done about a container that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterExit {
    /// It stays as it is.
    Stay,
    /// It is started again.
    Restart,
    /// The pod begins anew, from its first init container on.
    RestartAll,
}

/// The first rule that matches the exit code decides, then the container's own policy, then the pod's.
pub(crate) fn after_exit(
    pod: &ApiPod,
    kind: ContainerKind,
    spec: &ContainerSpec,
    ended: &Container,
) -> AfterExit {
    if kind == ContainerKind::Ephemeral {
        return AfterExit::Stay;
    }
    if let Some(ruled) = ruled(spec, ended.exit_code) {
        return ruled;
    }
    // An init container that the kernel killed has not done its work, whatever its code.
    let failed = ended.exit_code != 0 || (kind == ContainerKind::Init && ended.reason == "OOMKilled");
    let policy = spec.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod));
    let again = match (kind, policy) {
        (ContainerKind::Sidecar, _) => true,
        (_, "Never") => false,
        (_, "OnFailure") | (ContainerKind::Init, _) => failed,
        _ => true,
    };
    if again { AfterExit::Restart } else { AfterExit::Stay }
}

/// Whether the container is started again, alone or with all others.
pub(crate) fn restarts(pod: &ApiPod, kind: ContainerKind, spec: &ContainerSpec, ended: &Container) -> bool {
    after_exit(pod, kind, spec, ended) != AfterExit::Stay
}

/// Whether anything of the pod could be started a second time.
pub(crate) fn may_ever_restart(pod: &ApiPod) -> bool {
    restart_policy(pod) != "Never"
        || specs(pod).any(|(kind, spec)| {
            let own = spec.restart_policy.as_deref().is_some_and(|policy| policy != "Never");
            let ruled = spec.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty());
            kind == ContainerKind::Regular && (own || ruled)
        })
}

fn ruled(spec: &ContainerSpec, exit_code: i32) -> Option<AfterExit> {
    let rule = spec.restart_policy_rules.iter().flatten().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|on| {
            let listed = on.values.iter().flatten().any(|code| *code == exit_code);
            match on.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    })?;
    match rule.action.as_str() {
        "Restart" => Some(AfterExit::Restart),
        "RestartAllContainers" => Some(AfterExit::RestartAll),
        _ => None,
    }
}
