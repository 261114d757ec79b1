//! Which AppArmor profile is in force for a container (behaviour.md 9.13).

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod};

/// Where profiles stood before they had a field, with the container's name behind it; static pods may still have them there.
pub const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The container's own, else the annotation's, else the pod's.
pub fn app_armor_profile(pod: &Pod, container: &Container) -> Option<AppArmorProfile> {
    let own = container.security_context.as_ref().and_then(|s| s.app_armor_profile.clone());
    let of_pod = || pod.spec.as_ref()?.security_context.as_ref()?.app_armor_profile.clone();
    own.or_else(|| annotated(pod, &container.name)).or_else(of_pod)
}

fn annotated(pod: &Pod, container: &str) -> Option<AppArmorProfile> {
    let value = pod.metadata.annotations.as_ref()?.get(&format!("{APP_ARMOR_ANNOTATION}{container}"))?;
    let of = |kind: &str, name: Option<&str>| {
        Some(AppArmorProfile { type_: kind.to_owned(), localhost_profile: name.map(str::to_owned) })
    };
    match value.as_str() {
        "runtime/default" => of("RuntimeDefault", None),
        "unconfined" => of("Unconfined", None),
        local => of("Localhost", Some(local.strip_prefix("localhost/")?)),
    }
}
