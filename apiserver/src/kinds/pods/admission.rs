//! What a new pod gets from other objects: priority, overhead; and from the cluster's habits: tolerations.

use serde_json::{Value, json};

use crate::kinds::field::{FieldError, Path};
use crate::kinds::values::{child, child_of, is_true, number, string};
use crate::kinds::{AdmissionError, Cluster, priorityclasses, runtimeclasses, text};

/// How long a pod stays on a node that is not ready or cannot be reached, in seconds.
const TOLERATION_SECONDS: i64 = 300;
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

pub(super) fn admit(pod: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
    super::accounts::admit(pod, cluster)?;
    priority(pod, cluster)?;
    runtime_class(pod, cluster)?;
    tolerations(pod);
    Ok(())
}

fn priority(pod: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
    let name = text(pod, "/spec/priorityClassName").to_owned();
    let kind = &priorityclasses::PRIORITYCLASSES;
    let class = if name.is_empty() {
        // Of several defaults the lowest counts.
        let defaults = cluster.list(kind).into_iter().filter(|c| is_true(c, "globalDefault"));
        defaults.min_by_key(|c| number(c, "value").unwrap_or(0))
    } else {
        let found = cluster.get(kind, "", &name);
        let missing = || AdmissionError::Forbidden(format!("no PriorityClass with name {name} was found"));
        Some(found.ok_or_else(missing)?)
    };
    let (value, policy, class_name) = match &class {
        Some(class) => (
            number(class, "value").unwrap_or(0),
            string(class, "preemptionPolicy"),
            text(class, "/metadata/name"),
        ),
        None => (0, "PreemptLowerPriority", ""),
    };
    let spec = child(pod, "spec");
    if let Some(given) = spec.get("priority").and_then(Value::as_i64).filter(|given| *given != value) {
        return Err(computed("integer value of priority", &given.to_string(), &value.to_string()));
    }
    let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
    if let Some(given) = spec.get("preemptionPolicy").and_then(Value::as_str).filter(|given| *given != policy)
    {
        return Err(computed("string value of PreemptionPolicy", given, policy));
    }
    spec.insert("priority".to_owned(), value.into());
    spec.insert("preemptionPolicy".to_owned(), policy.into());
    if !class_name.is_empty() {
        spec.insert("priorityClassName".to_owned(), class_name.into());
    }
    Ok(())
}

/// The pod says what only the class may say.
fn computed(what: &str, given: &str, computed: &str) -> AdmissionError {
    AdmissionError::Forbidden(format!(
        "the {what} ({given}) must not be provided in pod spec; priority admission controller computed {computed} from the given PriorityClass name"
    ))
}

/// The class says what a pod costs beyond its containers, and where it can run.
fn runtime_class(pod: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
    let name = text(pod, "/spec/runtimeClassName").to_owned();
    let given =
        pod.pointer("/spec/overhead").filter(|o| o.as_object().is_some_and(|o| !o.is_empty())).cloned();
    if name.is_empty() {
        return match given {
            Some(_) => Err(AdmissionError::Forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                    .to_owned(),
            )),
            None => Ok(()),
        };
    }
    let Some(class) = cluster.get(&runtimeclasses::RUNTIMECLASSES, "", &name) else {
        return Err(AdmissionError::Forbidden(format!("pod rejected: RuntimeClass \"{name}\" not found")));
    };
    let overhead = class.pointer("/overhead/podFixed");
    match (&given, overhead) {
        (Some(given), overhead) if Some(given) != overhead => {
            let message = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(AdmissionError::Forbidden(message.to_owned()));
        }
        (_, Some(overhead)) => {
            child(pod, "spec").insert("overhead".to_owned(), overhead.clone());
        }
        _ => {}
    }
    let spec = child(pod, "spec");
    for (key, value) in
        class.pointer("/scheduling/nodeSelector").and_then(Value::as_object).into_iter().flatten()
    {
        let selector = child_of(spec, "nodeSelector");
        match selector.get(key) {
            Some(own) if own != value => {
                let path = Path::new("spec").child("nodeSelector").key(key);
                return Err(AdmissionError::Invalid(FieldError::invalid(
                    &path,
                    own,
                    "conflicts with the RuntimeClass",
                )));
            }
            _ => selector.insert(key.clone(), value.clone()),
        };
    }
    let more =
        class.pointer("/scheduling/tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    add_tolerations(pod, more);
    Ok(())
}

/// Unless the pod says otherwise it stays for a while on a node that has failed.
pub(super) fn tolerations(pod: &mut Value) {
    let tolerated = |key: &str| {
        let list = pod.pointer("/spec/tolerations").and_then(Value::as_array);
        list.into_iter().flatten().any(|t| {
            matches!(string(t, "key"), k if k == key || k.is_empty())
                && matches!(string(t, "effect"), "NoExecute" | "")
        })
    };
    let missing = [NOT_READY, UNREACHABLE].into_iter().filter(|key| !tolerated(key));
    let added: Vec<Value> = missing
        .map(|key| {
            json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS })
        })
        .collect();
    add_tolerations(pod, added);
}

fn add_tolerations(pod: &mut Value, added: Vec<Value>) {
    if added.is_empty() {
        return;
    }
    let spec = child(pod, "spec");
    let mut list = spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    for toleration in added {
        if !list.contains(&toleration) {
            list.push(toleration);
        }
    }
    spec.insert("tolerations".to_owned(), list.into());
}
