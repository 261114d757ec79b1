//! The difference of two pod statuses, as a strategic merge patch.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// Conditions that are there only while they hold, and that nobody else writes.
const PASSING: [&str; 3] = ["PodResizePending", "PodResizeInProgress", "AllContainersRestarting"];

/// What must be sent so that the API's status `old` becomes `new`; `None` where they are alike.
///
/// Conditions are merged by type, so that those of others stay; the address lists would be merged by address, so
/// they are replaced; all other lists are replaced by the API server itself. A field that is gone is sent as null.
pub(crate) fn status_patch(old: Option<&PodStatus>, new: &PodStatus) -> Option<Value> {
    let value = |status: &PodStatus| serde_json::to_value(status).unwrap_or(Value::Null);
    let old = old.map_or_else(|| json!({}), value);
    let new = value(new);
    let (Value::Object(old), Value::Object(new)) = (&old, &new) else { return None };
    let mut patch = difference(old, new);
    for list in ["podIPs", "hostIPs"] {
        if let Some(Value::Array(items)) = patch.get_mut(list) {
            items.insert(0, json!({"$patch": "replace"}));
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn difference(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(before), _) if before == value => {}
            (Some(Value::Array(before)), Value::Array(after)) if key == "conditions" => {
                let changed = changed_conditions(before, after);
                if !changed.is_empty() {
                    patch.insert(key.clone(), Value::Array(changed));
                }
            }
            (Some(Value::Object(before)), Value::Object(after)) => {
                patch.insert(key.clone(), Value::Object(difference(before, after)));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|k| !new.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}

fn changed_conditions(before: &[Value], after: &[Value]) -> Vec<Value> {
    let same_type = |a: &Value, b: &Value| a.get("type") == b.get("type");
    let mut changed = Vec::new();
    for condition in after {
        let old = before.iter().find(|c| same_type(c, condition));
        match (old, condition) {
            (Some(old), _) if old == condition => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                let mut part = difference(old, new);
                part.insert("type".to_owned(), new.get("type").cloned().unwrap_or_default());
                changed.push(Value::Object(part));
            }
            _ => changed.push(condition.clone()),
        }
    }
    let over = |condition: &&Value| {
        let kind = condition.get("type").and_then(Value::as_str).unwrap_or_default();
        PASSING.contains(&kind) && !after.iter().any(|c| same_type(c, condition))
    };
    changed.extend(before.iter().filter(over).map(|c| json!({"$patch": "delete", "type": c.get("type")})));
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn equal_statuses_need_no_patch() {
        let s = status(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(status_patch(Some(&s), &s), None);
    }

    #[test]
    fn a_reason_that_is_gone_is_sent_as_null() {
        let old = status(json!({"conditions": [
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
            {"type": "PodScheduled", "status": "True"}]}));
        let new = status(json!({"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]}));
        let patch = status_patch(Some(&old), &new).expect("a patch");
        assert_eq!(patch, json!({"conditions": [{"type": "Ready", "status": "True", "reason": null}]}));
    }

    #[test]
    fn a_condition_of_ours_that_is_over_is_deleted_and_one_of_others_stays() {
        let old = status(json!({"conditions": [
            {"type": "PodResizePending", "status": "True"}, {"type": "example.com/theirs", "status": "True"}]}));
        let new = status(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        let patch = status_patch(Some(&old), &new).expect("a patch");
        assert_eq!(
            patch,
            json!({"conditions": [{"type": "Ready", "status": "True"}, {"$patch": "delete", "type": "PodResizePending"}]})
        );
    }

    #[test]
    fn address_lists_are_replaced_and_not_merged() {
        let old = status(json!({"podIPs": [{"ip": "10.0.0.1"}]}));
        let new = status(json!({"podIPs": [{"ip": "10.0.0.2"}]}));
        let patch = status_patch(Some(&old), &new).expect("a patch");
        assert_eq!(patch, json!({"podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}]}));
    }

    #[test]
    fn a_container_list_is_sent_whole() {
        let old = status(
            json!({"containerStatuses": [{"name": "a", "restartCount": 0, "ready": true, "image": "i", "imageID": ""}]}),
        );
        let new = status(
            json!({"containerStatuses": [{"name": "a", "restartCount": 1, "ready": true, "image": "i", "imageID": ""}]}),
        );
        let patch = status_patch(Some(&old), &new).expect("a patch");
        assert_eq!(patch["containerStatuses"][0]["restartCount"], 1);
        assert_eq!(patch["containerStatuses"][0]["name"], "a");
    }
}
