//! `pods/status`: what a node says about a pod, and what it may not take back.

use serde_json::Value;

use crate::kinds::field::{FieldError, Path};
use crate::kinds::values::{child, items, number, string};
use crate::kinds::{metadata, text};

pub(super) fn prepare(new: &mut Value, old: &Value) {
    match old.pointer("/metadata/ownerReferences") {
        Some(owners) => metadata::of(new).insert("ownerReferences".to_owned(), owners.clone()),
        None => metadata::of(new).remove("ownerReferences"),
    };
    if text(new, "/status/qosClass").is_empty() && !text(old, "/status/qosClass").is_empty() {
        child(new, "status").insert("qosClass".to_owned(), text(old, "/status/qosClass").into());
    }
}

/// The lists of containers with those of their statuses.
const LISTS: [(&str, &str); 3] = [
    ("containers", "containerStatuses"),
    ("initContainers", "initContainerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
];

pub(super) fn validate(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("status");
    let (before, after) = (text(old, "/status/qosClass"), text(new, "/status/qosClass"));
    if !before.is_empty() && before != after {
        errors.push(FieldError::invalid(&path.child("qosClass"), after, "field is immutable"));
    }
    let none = Value::Null;
    let spec = old.get("spec").unwrap_or(&none);
    let all_restart = all_may_restart(spec);
    for (list, statuses) in LISTS {
        let ephemeral = list == "ephemeralContainers";
        if all_restart && !ephemeral {
            continue;
        }
        let now = items(new.get("status").unwrap_or(&none), statuses);
        for (index, status) in items(old.get("status").unwrap_or(&none), statuses).iter().enumerate() {
            let Some(ended) = status.pointer("/state/terminated") else { continue };
            let name = string(status, "name");
            let found = now.iter().find(|s| string(s, "name") == name);
            if found.is_none_or(|s| s.pointer("/state/terminated").is_some()) {
                continue;
            }
            let container = items(spec, list).iter().find(|c| string(c, "name") == name);
            let code = number(ended, "exitCode").unwrap_or(0);
            if ephemeral || !container.is_some_and(|c| may_restart(spec, c, code)) {
                let path = path.child(statuses).index(index).child("state");
                errors.push(FieldError::forbidden(&path, "may not be transitioned to non-terminated state"));
            }
        }
    }
}

/// Whether some container's end starts all of them again (behaviour.md 11.18).
fn all_may_restart(spec: &Value) -> bool {
    let containers = items(spec, "containers").iter().chain(items(spec, "initContainers"));
    containers
        .flat_map(|c| items(c, "restartPolicyRules"))
        .any(|rule| string(rule, "action") == "RestartAllContainers")
}

/// Whether a container that has ended with this code is started again: by its first rule that fits, else by its policy, else by
/// the pod's (behaviour.md 11.16, 11.17).
fn may_restart(spec: &Value, container: &Value, exit_code: i64) -> bool {
    let own = string(container, "restartPolicy");
    let fits = |rule: &&Value| {
        let codes = rule.get("exitCodes").unwrap_or(&Value::Null);
        let listed = items(codes, "values").iter().any(|v| v.as_i64() == Some(exit_code));
        match string(codes, "operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    let rule = items(container, "restartPolicyRules").iter().find(fits);
    if !own.is_empty() && rule.is_some_and(|r| string(r, "action") == "Restart") {
        return true;
    }
    match if own.is_empty() { string(spec, "restartPolicy") } else { own } {
        "OnFailure" => exit_code != 0,
        "Never" => false,
        _ => true,
    }
}
