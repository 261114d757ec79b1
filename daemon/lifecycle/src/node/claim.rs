//! What an admitted pod has of the node.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use podspec::{HostPort, QosClass, ResourceList};

/// The name under which the number of pods is counted among the resources.
pub(super) const PODS: &str = "pods";
/// behaviour.md 18.1.
const USUAL_GRACE_SECONDS: i64 = 30;

/// Amounts as a kubelet compares them: thousandths of a processor, whole units of everything else.
pub(super) type Amounts = BTreeMap<String, i64>;

/// See the module's page.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// Which of the claims it is, counted from the first.
    pub(super) number: u64,
    /// One pod among them.
    pub(super) requests: Amounts,
    pub(super) host_ports: Vec<HostPort>,
    pub(super) priority: Option<i32>,
    pub(super) critical: bool,
    pub(super) qos: QosClass,
    pub(super) grace: Duration,
}

impl Claim {
    pub(super) fn of(pod: &ApiPod, number: u64) -> Self {
        let spec = pod.spec.as_ref();
        let grace = spec.and_then(|s| s.termination_grace_period_seconds).unwrap_or(USUAL_GRACE_SECONDS);
        let mut requests = amounts(&podspec::pod_requests(pod));
        requests.insert(PODS.to_owned(), 1);
        Self {
            number,
            requests,
            host_ports: spec.map(podspec::host_ports).unwrap_or_default(),
            priority: spec.and_then(|s| s.priority),
            critical: podspec::is_critical(pod),
            qos: podspec::qos_class(pod),
            grace: Duration::from_secs(grace.max(0).unsigned_abs()),
        }
    }

    /// How much of one resource the pod has.
    pub(super) fn request(&self, resource: &str) -> i64 {
        self.requests.get(resource).copied().unwrap_or(0)
    }
}

pub(super) fn amounts(list: &ResourceList) -> Amounts {
    let amount = |name: &str, quantity: &podspec::Quantity| match name {
        "cpu" => quantity.milli_value(),
        _ => quantity.value(),
    };
    list.iter().map(|(name, quantity)| (name.clone(), amount(name, quantity))).collect()
}

/// All that these pods have together.
pub(super) fn sum<'a>(claims: impl Iterator<Item = &'a Claim>) -> Amounts {
    let mut total = Amounts::new();
    for claim in claims {
        for (name, amount) in &claim.requests {
            let sum = total.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }
    total
}
