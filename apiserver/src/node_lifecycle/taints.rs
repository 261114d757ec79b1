//! The taints that follow from a node's conditions. Pure. All other taints are left as they are.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::zones::Evicting;
use crate::api::timestamp;
use crate::kinds::text;
use crate::kinds::values::{child, is_true, items, string};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition, the status in which it keeps pods away, and the taint for that.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

fn taints(node: &Value) -> &[Value] {
    items(node.get("spec").unwrap_or(&Value::Null), "taints")
}

fn is_on(node: &Value, (condition, status, _): &(&str, &str, &str)) -> bool {
    let conditions = items(node.get("status").unwrap_or(&Value::Null), "conditions");
    conditions.iter().any(|c| string(c, "type") == *condition && string(c, "status") == *status)
}

/// Whether pods are being taken off the node because of what its conditions say.
pub(super) fn has_no_execute(node: &Value) -> bool {
    let ours = |taint: &Value| matches!(string(taint, "key"), NOT_READY | UNREACHABLE);
    taints(node).iter().any(|taint| ours(taint) && string(taint, "effect") == NO_EXECUTE)
}

/// Gives a node the taints that follow from what it says; whether that changes anything.
pub(super) fn follow(node: &mut Value, evicting: Evicting, now: Timestamp) -> bool {
    let on: Vec<&str> = BY_CONDITION.iter().filter(|c| is_on(node, c)).map(|(_, _, key)| *key).collect();
    let managed: Vec<&str> = BY_CONDITION.iter().map(|(_, _, key)| *key).chain([UNSCHEDULABLE]).collect();
    let cordoned = node.get("spec").is_some_and(|spec| is_true(spec, "unschedulable"));
    let mut wanted = on.clone();
    wanted.extend(cordoned.then_some(UNSCHEDULABLE));
    let changed = set(node, NO_SCHEDULE, &managed, &wanted, now);
    let executed: Vec<&str> = on.into_iter().filter(|key| matches!(*key, NOT_READY | UNREACHABLE)).collect();
    let had = has_no_execute(node);
    let wanted = match evicting {
        Evicting::Never => Vec::new(),
        // One that pods are taken off already is not waited with again: its taint changes along.
        Evicting::NotYet if !had => Vec::new(),
        Evicting::NotYet | Evicting::Now => executed,
    };
    set(node, NO_EXECUTE, &[NOT_READY, UNREACHABLE], &wanted, now) || changed
}

/// Has exactly the wanted ones of these taints on the node.
fn set(node: &mut Value, effect: &str, managed: &[&str], wanted: &[&str], now: Timestamp) -> bool {
    let before = taints(node).to_vec();
    let is_ours =
        |taint: &Value| string(taint, "effect") == effect && managed.contains(&string(taint, "key"));
    let mut after: Vec<Value> =
        before.iter().filter(|t| !is_ours(t) || wanted.contains(&string(t, "key"))).cloned().collect();
    for key in wanted {
        let has = |taint: &Value| is_ours(taint) && text(taint, "/key") == *key;
        if !after.iter().any(has) {
            after.push(json!({ "key": key, "effect": effect, "timeAdded": timestamp(now) }));
        }
    }
    if after == before {
        return false;
    }
    let spec = child(node, "spec");
    if after.is_empty() {
        spec.remove("taints");
    } else {
        spec.insert("taints".to_owned(), after.into());
    }
    true
}

#[cfg(test)]
mod tests;
