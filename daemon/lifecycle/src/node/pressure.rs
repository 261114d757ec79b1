//! A node that runs short takes only what it can bear (behaviour.md 2.1).

use k8s_openapi::api::core::v1::{Pod as ApiPod, Taint};
use podspec::QosClass;

use super::facts::{Facts, Pressure};
use super::refusal::Refusal;

const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";

pub(super) fn check(pod: &ApiPod, facts: &Facts) -> Option<Refusal> {
    if facts.pressures.is_empty() || podspec::is_critical(pod) {
        return None;
    }
    if facts.pressures.iter().eq([&Pressure::Memory]) {
        let taint =
            Taint { key: MEMORY_TAINT.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
        if podspec::qos_class(pod) != QosClass::BestEffort || podspec::tolerated(tolerations, &taint) {
            return None;
        }
    }
    let names: Vec<String> = facts.pressures.iter().map(ToString::to_string).collect();
    Some(Refusal::new("Evicted", format!("The node had condition: [{}]. ", names.join(" "))))
}
