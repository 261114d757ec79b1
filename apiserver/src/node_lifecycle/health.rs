//! What the conditions of a node say, and what they say of one that is silent. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::taints;
use super::zones::{Evicting, Standing};
use crate::api::timestamp;
use crate::kinds::text;
use crate::kinds::values::{child, items, string};

/// The conditions that a silent node has nothing to say to any more.
const SPOKEN: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What is kept of a node, so that it need not be read again while it does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// When it said last that it is ready, or not; empty if never.
    pub(super) heartbeat: String,
    ready: String,
    /// Whether a write would change nothing, in each way in which it may be evicted.
    settled: [bool; 3],
    zone: String,
    no_execute: bool,
    spoken: bool,
}

impl Summary {
    pub(super) fn of(node: &Value) -> Self {
        let condition = condition(node, "Ready");
        let heartbeat = condition.map_or("", |c| string(c, "lastHeartbeatTime")).to_owned();
        let settled = Evicting::ALL.map(|way| !taints::follow(&mut node.clone(), way, Timestamp::UNIX_EPOCH));
        let label = |name: &str| {
            let labels = node.pointer("/metadata/labels");
            labels.and_then(|l| l.get(name)).and_then(Value::as_str).unwrap_or("").to_owned()
        };
        let (region, zone) = (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"));
        Self {
            heartbeat,
            ready: ready(node).to_owned(),
            settled,
            zone: format!("{region}:{zone}"),
            no_execute: taints::has_no_execute(node),
            spoken: condition.is_some(),
        }
    }

    /// Whether the node has ever told whether it is ready.
    pub(super) fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// Whether its taints are what they should be.
    pub(super) fn is_settled(&self, evicting: Evicting) -> bool {
        Evicting::ALL.iter().zip(self.settled).any(|(way, settled)| *way == evicting && settled)
    }

    pub(super) fn standing(&self) -> Standing<'_> {
        Standing {
            zone: &self.zone,
            ready: self.ready == "True",
            spoken: self.spoken,
            given_up: self.no_execute,
        }
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = items(object.get("status").unwrap_or(&Value::Null), "conditions");
    conditions.iter().find(|c| string(c, "type") == kind)
}

/// The status of the condition Ready; empty where there is none.
pub(super) fn ready(node: &Value) -> &str {
    condition(node, "Ready").map_or("", |c| string(c, "status"))
}

/// Says that nobody knows how the node is; whether that is new.
pub(super) fn silence(node: &mut Value, now: Timestamp) -> bool {
    let at = timestamp(now);
    let created = text(node, "/metadata/creationTimestamp").to_owned();
    let conditions = child(node, "status").entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return false };
    let mut changed = false;
    for kind in SPOKEN {
        match conditions.iter_mut().find(|c| string(c, "type") == kind) {
            Some(known) if string(known, "status") == "Unknown" => continue,
            Some(known) => {
                known["status"] = "Unknown".into();
                known["reason"] = "NodeStatusUnknown".into();
                known["message"] = "Kubelet stopped posting node status.".into();
                known["lastTransitionTime"] = at.as_str().into();
            }
            None => conditions.push(json!({
                "type": kind,
                "status": "Unknown",
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": created,
                "lastTransitionTime": at,
            })),
        }
        changed = true;
    }
    changed
}

/// Says that a pod is not ready; whether that is new.
pub(super) fn set_not_ready(pod: &mut Value, now: Timestamp) -> bool {
    let conditions = child(pod, "status").get_mut("conditions").and_then(Value::as_array_mut);
    let mut ready = conditions
        .into_iter()
        .flatten()
        .filter(|c| string(c, "type") == "Ready" && string(c, "status") == "True");
    let Some(ready) = ready.next() else { return false };
    ready["status"] = "False".into();
    ready["lastTransitionTime"] = timestamp(now).into();
    true
}

#[cfg(test)]
mod tests;
