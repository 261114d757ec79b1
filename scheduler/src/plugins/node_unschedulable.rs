//! NodeUnschedulable: cordoned nodes take no new pods.

use k8s_openapi::api::core::v1::Taint;

use super::taint_toleration::tolerated;
use super::{Candidate, Filter, Reason, Target};

pub(super) const FILTER: Filter = Filter { name: "NodeUnschedulable", filter, resolvable: |_, _| false };

fn filter(pod: Candidate<'_>, target: Target<'_>) -> Vec<Reason> {
    if !target.node.unschedulable {
        return Vec::new();
    }
    // Who tolerates the taint that stands for the cordon tolerates the cordon.
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if tolerated(&pod.wish.tolerations, &cordon) {
        return Vec::new();
    }
    vec!["node(s) were unschedulable".into()]
}
