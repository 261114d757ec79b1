//! Which running pods may have other resources (behaviour.md 27.4, 27.5).
//!
//! A pod that the node has no room for waits: it is judged again whenever something else has become less. What the node
//! can never give is not told here, the API does not let it in.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use podspec::QosClass;

use super::NodeEffect;
use super::claim::{self, Amounts, Claim, amounts};
use super::facts::Facts;
use super::fit;
use crate::input::ResizeVerdict;

#[derive(Debug)]
struct Deferred {
    pod: Arc<ApiPod>,
    /// Counts up: who has waited longer has the smaller one.
    number: u64,
}

/// Resizes that wait.
#[derive(Debug, Default)]
pub(super) struct Resizes {
    deferred: BTreeMap<String, Deferred>,
    asked: u64,
}

impl Resizes {
    /// A pod asks for the resources of its spec.
    pub(super) fn ask(&mut self, uid: String, pod: Arc<ApiPod>) {
        self.asked += 1;
        let number = self.deferred.get(&uid).map_or(self.asked, |d| d.number);
        self.deferred.insert(uid, Deferred { pod, number });
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.deferred.remove(uid);
    }

    /// Grants what there is room for: what becomes less first, then by priority, guaranteed pods, and time.
    pub(super) fn grant(
        &mut self,
        claims: &mut BTreeMap<String, Claim>,
        facts: &Facts,
        out: &mut Vec<NodeEffect>,
    ) {
        let mut waiting: Vec<(&String, &Deferred)> = self.deferred.iter().collect();
        waiting.sort_by_key(|(uid, deferred)| {
            let pod = &deferred.pod;
            let guaranteed = podspec::qos_class(pod) == QosClass::Guaranteed;
            let grows = claims.get(*uid).is_none_or(|has| grows(has, pod));
            (grows, Reverse(podspec::priority(pod)), !guaranteed, deferred.number)
        });
        let waiting: Vec<String> = waiting.into_iter().map(|(uid, _)| uid.clone()).collect();
        let allocatable = amounts(&facts.allocatable);
        for uid in waiting {
            let Some(Deferred { pod, .. }) = self.deferred.get(&uid) else { continue };
            let others = claims.iter().filter(|(other, _)| **other != uid).map(|(_, claim)| claim);
            let shortages =
                fit::shortages(&fit::wanted(pod, &allocatable), &claim::sum(others), &allocatable);
            let verdict = match shortages.first() {
                Some(shortage) => ResizeVerdict::Deferred { message: shortage.refusal().message },
                None => {
                    if let Some(claim) = claims.get_mut(&uid) {
                        *claim = Claim::of(pod, claim.number);
                    }
                    self.deferred.remove(&uid);
                    ResizeVerdict::Allowed
                }
            };
            out.push(NodeEffect::Resized { uid, verdict });
        }
    }
}

/// Whether the pod wants more of anything than it has.
fn grows(has: &Claim, pod: &ApiPod) -> bool {
    let wants: Amounts = amounts(&podspec::pod_requests(pod));
    wants.iter().any(|(name, amount)| *amount > has.request(name))
}
