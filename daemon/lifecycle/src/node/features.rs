//! What a pod needs that not every node, configuration or runtime has (behaviour.md 2.10, 2.14, 2.15).

use k8s_openapi::api::core::v1::{Pod as ApiPod, PodSpec};

use super::facts::Facts;
use super::refusal::Refusal;

pub(super) fn supplemental_groups(pod: &ApiPod, facts: &Facts) -> Option<Refusal> {
    let security = pod.spec.as_ref()?.security_context.as_ref()?;
    let strict = security.supplemental_groups_policy.as_deref() == Some("Strict");
    (strict && !facts.supplemental_groups_policy).then(|| {
        Refusal::new(
            "SupplementalGroupsPolicyNotSupported",
            "SupplementalGroupsPolicy=Strict is not supported in this node",
        )
    })
}

pub(super) fn pod_level_resources(pod: &ApiPod, facts: &Facts) -> Option<Refusal> {
    let resources = pod.spec.as_ref()?.resources.as_ref()?;
    let counted = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let mut names = resources.requests.iter().chain(&resources.limits).flat_map(|list| list.keys());
    (names.any(|name| counted(name)) && !facts.pod_level_resources)
        .then(|| Refusal::new("PodLevelResourcesNotSupported", "PodLevelResources feature gate is disabled"))
}

pub(super) fn declared(pod: &ApiPod, facts: &Facts) -> Option<Refusal> {
    let declared = facts.declared_features.as_ref()?;
    let missing: Vec<&str> =
        required(pod.spec.as_ref()?).into_iter().filter(|name| !declared.contains(*name)).collect();
    (!missing.is_empty()).then(|| {
        let list = missing.join(", ");
        let message = format!("Pod requires node features that are not available: {list}");
        Refusal::new("PodFeatureUnsupported", message)
    })
}

/// The features that a pod needs from its beginning on; the others of behaviour.md 32.13 only matter to its changes.
fn required(spec: &PodSpec) -> Vec<&'static str> {
    let mut names = Vec::new();
    let restarts_all = podspec::containers(spec)
        .flat_map(|(_, c)| c.restart_policy_rules.iter().flatten())
        .any(|rule| rule.action == "RestartAllContainers");
    if restarts_all {
        names.push("RestartAllContainersOnContainerExits");
    }
    if spec.host_network == Some(true) && spec.host_users == Some(false) {
        names.push("UserNamespacesHostNetworkSupport");
    }
    names
}
