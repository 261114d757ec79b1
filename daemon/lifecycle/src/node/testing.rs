//! Pods and a node for the tests of this module's parts.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use serde_json::{Value, json};

use super::facts::Facts;

/// A pod of the API with one container; `more` is laid over it.
pub(super) fn pod(more: Value) -> ApiPod {
    let mut object = json!({
        "metadata": {"namespace": "ns", "name": "web", "uid": "u"},
        "spec": {"containers": [{"name": "c", "image": "img"}]},
        "status": {"phase": "Pending"}});
    lay_over(&mut object, more);
    serde_json::from_value(object).expect("a pod")
}

/// One that asks for `requests`.
pub(super) fn asking_for(requests: Value) -> ApiPod {
    pod(json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}))
}

fn lay_over(object: &mut Value, more: Value) {
    match (object, more) {
        (Value::Object(object), Value::Object(more)) => {
            for (name, value) in more {
                lay_over(object.entry(name).or_insert(Value::Null), value);
            }
        }
        (object, more) => *object = more,
    }
}

/// A node with four processors, 8 GiB and room for ten pods, that the API has shown.
pub(super) fn facts() -> Facts {
    let amounts = [("cpu", "4"), ("memory", "8Gi"), ("ephemeral-storage", "10Gi"), ("pods", "10")];
    Facts {
        name: "n1".to_owned(),
        seen: true,
        allocatable: amounts
            .map(|(name, amount)| (name.to_owned(), amount.parse().expect("an amount")))
            .into(),
        kernel_version: "6.12.0".to_owned(),
        apparmor: true,
        pod_level_resources: true,
        declared_features: Some(std::collections::BTreeSet::new()),
        ..Facts::default()
    }
}

/// The same with a change, shared.
pub(super) fn facts_with(change: impl FnOnce(&mut Facts)) -> Arc<Facts> {
    let mut facts = facts();
    change(&mut facts);
    Arc::new(facts)
}
