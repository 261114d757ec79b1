//! Where a pod may run: tolerations, affinity, spreading, gates.

use std::collections::HashSet;

use serde_json::Value;

use super::{Errors, invalid_all, one_of};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;
use crate::kinds::values::{items, number, string};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const SELECTOR_OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

pub(super) fn all(spec: &Value, path: &Path, errors: &mut Errors) {
    for (index, toleration) in items(spec, "tolerations").iter().enumerate() {
        self::toleration(toleration, &path.child("tolerations").index(index), errors);
    }
    if let Some(affinity) = spec.get("affinity") {
        self::affinity(affinity, &path.child("affinity"), errors);
    }
    spread(spec, &path.child("topologySpreadConstraints"), errors);
    let mut seen = HashSet::new();
    for (index, gate) in items(spec, "schedulingGates").iter().enumerate() {
        let (name, path) = (string(gate, "name"), path.child("schedulingGates").index(index));
        invalid_all(&names::qualified_name(name), name, &path, errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

fn toleration(toleration: &Value, path: &Path, errors: &mut Errors) {
    let (key, value, effect) =
        (string(toleration, "key"), string(toleration, "value"), string(toleration, "effect"));
    let operator = string(toleration, "operator");
    if !key.is_empty() {
        invalid_all(&names::qualified_name(key), key, &path.child("key"), errors);
    } else if operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(&path.child("operator"), operator, detail));
    }
    if number(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(&path.child("effect"), effect, detail));
    }
    match operator {
        "Equal" | "" => {
            let problems = names::label_value(value);
            if !problems.is_empty() {
                errors.push(FieldError::invalid(&path.child("operator"), value, &problems.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(&path.child("operator"), toleration, detail));
        }
        "Exists" => {}
        "Lt" | "Gt" if value.parse::<i64>().is_err() => {
            let detail = format!("value must be an integer when `operator` is '{operator}'");
            errors.push(FieldError::invalid(&path.child("value"), value, &detail));
        }
        "Lt" | "Gt" => {}
        _ => errors.push(FieldError::not_supported(&path.child("operator"), operator, &["Equal", "Exists"])),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&path.child("effect"), effect, EFFECTS));
    }
}

fn affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    if let Some(node) = affinity.get("nodeAffinity") {
        let path = path.child("nodeAffinity");
        if let Some(wanted) = node.get("requiredDuringSchedulingIgnoredDuringExecution") {
            let path =
                path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
            let terms = items(wanted, "nodeSelectorTerms");
            if terms.is_empty() {
                errors.push(FieldError::required(&path, "must have at least one node selector term"));
            }
            for (index, term) in terms.iter().enumerate() {
                node_term(term, &path.index(index), errors);
            }
        }
        let preferred = items(node, "preferredDuringSchedulingIgnoredDuringExecution");
        for (index, term) in preferred.iter().enumerate() {
            let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
            weight(term, &path, errors);
            node_term(term.get("preference").unwrap_or(&Value::Null), &path.child("preference"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.get(kind) else { continue };
        let path = path.child(kind);
        let required = items(pods, "requiredDuringSchedulingIgnoredDuringExecution");
        for (index, term) in required.iter().enumerate() {
            topology_key(
                term,
                &path.child("requiredDuringSchedulingIgnoredDuringExecution").index(index),
                errors,
            );
        }
        let preferred = items(pods, "preferredDuringSchedulingIgnoredDuringExecution");
        for (index, term) in preferred.iter().enumerate() {
            let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
            weight(term, &path, errors);
            let inner = term.get("podAffinityTerm").unwrap_or(&Value::Null);
            topology_key(inner, &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Errors) {
    let weight = number(term, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

fn topology_key(term: &Value, path: &Path, errors: &mut Errors) {
    let key = string(term, "topologyKey");
    let path = path.child("topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(&path, "can not be empty"));
    } else {
        invalid_all(&names::qualified_name(key), key, &path, errors);
    }
}

fn node_term(term: &Value, path: &Path, errors: &mut Errors) {
    for (index, expression) in items(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let (key, operator) = (string(expression, "key"), string(expression, "operator"));
        let count = items(expression, "values").len();
        invalid_all(&names::qualified_name(key), key, &path.child("key"), errors);
        match operator {
            "In" | "NotIn" if count == 0 => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path.child("values"), detail));
            }
            "Gt" | "Lt" if count != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            known if SELECTOR_OPERATORS.contains(&known) => {}
            unknown => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(&path.child("operator"), unknown, detail));
            }
        }
    }
    for (index, field) in items(term, "matchFields").iter().enumerate() {
        let path = path.child("matchFields").index(index);
        if string(field, "key") != "metadata.name" {
            let detail = "not a valid field selector key";
            errors.push(FieldError::invalid(&path.child("key"), string(field, "key"), detail));
        }
        if items(field, "values").len() != 1 {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
    }
}

fn spread(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, constraint) in items(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = path.index(index);
        let skew = number(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.push(FieldError::invalid(&path.child("maxSkew"), skew, "must be greater than zero"));
        }
        topology_key(constraint, &path, errors);
        let action = string(constraint, "whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            let supported = &["DoNotSchedule", "ScheduleAnyway"];
            errors.push(FieldError::not_supported(&path.child("whenUnsatisfiable"), action, supported));
        }
        let key = string(constraint, "topologyKey");
        if !seen.insert((key, action)) {
            let shown = format!("{{{key}, {action}}}");
            errors.push(FieldError::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), &shown));
        }
        if let Some(domains) = number(constraint, "minDomains") {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.push(FieldError::invalid(&path, domains, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(FieldError::invalid(&path, domains, &detail));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = string(constraint, field);
            if !policy.is_empty() {
                one_of(policy, &["Honor", "Ignore"], &path.child(field), errors);
            }
        }
    }
}
