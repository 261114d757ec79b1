//! Whether a container is started again: its own policy and its rules (behaviour.md 11.16 to 11.18).

use serde_json::Value;

use super::Errors;
use crate::kinds::field::{FieldError, Path};
use crate::kinds::values::{items, string};

const POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const RULES_LIMIT: usize = 20;
/// How many exit codes a rule names at most.
const CODES_LIMIT: usize = 255;

/// `path` is the container's.
pub(super) fn container(container: &Value, path: &Path, errors: &mut Errors) {
    let rules = items(container, "restartPolicyRules");
    let policy_path = path.child("restartPolicy");
    match container.get("restartPolicy").and_then(Value::as_str) {
        None if rules.is_empty() => return,
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(&policy_path, detail));
        }
        Some(policy) => one_of(policy, POLICIES, &policy_path, errors),
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES_LIMIT {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_LIMIT));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        one_of(string(rule, "action"), ACTIONS, &path.child("action"), errors);
        let path = path.child("exitCodes");
        let Some(codes) = rule.get("exitCodes") else {
            errors.push(FieldError::required(&path, "must be specified"));
            continue;
        };
        one_of(string(codes, "operator"), OPERATORS, &path.child("operator"), errors);
        let count = items(codes, "values").len();
        if count > CODES_LIMIT {
            errors.push(FieldError::too_many(&path.child("values"), count, CODES_LIMIT));
        }
    }
}

/// Nothing is no choice either, but here it is not called missing.
fn one_of(value: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    if !supported.contains(&value) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}
