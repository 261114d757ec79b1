//! AppArmor profiles that cannot be enforced (behaviour.md 2.12).
//!
//! Whether a profile is loaded is left to the runtime: a kubelet has not looked since 1.21.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod as ApiPod, PodSpec};
use podspec::{APP_ARMOR_ANNOTATION, app_armor_profile};

use super::facts::Facts;
use super::refusal::Refusal;

const UNCONFINED: &str = "unconfined";

pub(super) fn check(pod: &ApiPod, facts: &Facts) -> Option<Refusal> {
    let spec = pod.spec.as_ref()?;
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let undecided = matches!(phase, "" | "Pending");
    if !undecided || !is_wanted(pod, spec) {
        return None;
    }
    let cannot = |why: &str| Some(Refusal::new("AppArmor", format!("Cannot enforce AppArmor: {why}")));
    if !facts.apparmor {
        return cannot("AppArmor is not enabled on the host");
    }
    let nameless = |p: &AppArmorProfile| {
        p.type_ == "Localhost" && p.localhost_profile.as_deref().is_none_or(|name| name.trim().is_empty())
    };
    if all(spec).iter().filter_map(|c| app_armor_profile(pod, c)).any(|p| nameless(&p)) {
        return cannot("invalid empty AppArmor profile name");
    }
    None
}

fn all(spec: &PodSpec) -> Vec<Container> {
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(podspec::ephemeral_as_container);
    podspec::containers(spec).map(|(_, c)| c.clone()).chain(ephemeral).collect()
}

fn is_wanted(pod: &ApiPod, spec: &PodSpec) -> bool {
    let confines = |profile: Option<&AppArmorProfile>| profile.is_some_and(|p| p.type_ != "Unconfined");
    confines(spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref()))
        || all(spec).iter().any(|c| confines(own(c)))
        || pod
            .metadata
            .annotations
            .iter()
            .flatten()
            .any(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && value != UNCONFINED)
}

fn own(container: &Container) -> Option<&AppArmorProfile> {
    container.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref())
}
