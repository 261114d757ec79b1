//! Disruption budgets: how many of the selected pods have to stay healthy while others are evicted.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use super::field::{FieldError, Path};
use super::values::{as_object, number, string};
use super::{
    ALL_VERBS, Behaviour, Body, Kind, NameRule, Part, Scope, Storage, Subresource, define, label_selector,
};
use crate::table::{AGE, Column, Columns, NAME, cells};

const BUDGET: Body = Body {
    group: "policy",
    version: "v1",
    kind: "PodDisruptionBudget",
    define: define::<PodDisruptionBudget>,
};

pub(crate) static PODDISRUPTIONBUDGETS: Kind = Kind {
    body: BUDGET,
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[Subresource { name: "status", body: BUDGET, verbs: &["get", "patch", "update"] }],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: true,
    behaviour: &Budgets,
    columns: Columns {
        definitions: &[
            NAME,
            Column::text("Min Available", "How many of the pods have to be healthy after an eviction."),
            Column::text("Max Unavailable", "How many of the pods may be unhealthy after an eviction."),
            Column::number("Allowed Disruptions", "How many pods may be evicted now."),
            AGE,
        ],
        cells: |object, now| {
            let bound = |field: &str| match object.pointer(&format!("/spec/{field}")) {
                Some(Value::String(percentage)) => percentage.clone(),
                Some(Value::Number(count)) => count.to_string(),
                _ => "N/A".to_owned(),
            };
            let allowed = object.pointer("/status/disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0);
            vec![
                cells::name(object),
                bound("minAvailable").into(),
                bound("maxUnavailable").into(),
                allowed.into(),
                cells::age(object, now),
            ]
        },
    },
};

/// What an unhealthy pod's eviction depends on.
const POLICIES: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];
const COUNTS: &[&str] = &["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"];

#[derive(Debug)]
struct Budgets;

impl Behaviour for Budgets {
    fn prepare_create(&self, object: &mut Value) {
        let empty: serde_json::Map<_, _> = COUNTS.iter().map(|c| ((*c).to_owned(), json!(0))).collect();
        as_object(object).insert("status".to_owned(), empty.into());
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::new("spec");
        let Some(spec) = object.get("spec") else { return };
        let bounds = [spec.get("minAvailable"), spec.get("maxUnavailable")];
        if bounds.iter().all(Option::is_some) {
            errors.push(FieldError::invalid(
                &path,
                spec,
                "minAvailable and maxUnavailable cannot be both set",
            ));
        }
        for (name, value) in ["minAvailable", "maxUnavailable"].iter().zip(bounds) {
            if let Some(value) = value {
                bound(value, &path.child(name), errors);
            }
        }
        if let Some(selector) = spec.get("selector") {
            label_selector::validate(selector, &path.child("selector"), errors);
        }
        let policy = string(spec, "unhealthyPodEvictionPolicy");
        if spec.get("unhealthyPodEvictionPolicy").is_some() && !POLICIES.contains(&policy) {
            errors.push(FieldError::not_supported(
                &path.child("unhealthyPodEvictionPolicy"),
                policy,
                POLICIES,
            ));
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, part: Part, errors: &mut Vec<FieldError>) {
        if part == Part::Main {
            return self.validate(new, errors);
        }
        let Some(status) = new.get("status") else { return };
        for count in COUNTS {
            if let Some(value) = number(status, count).filter(|value| *value < 0) {
                let path = Path::new("status").child(count);
                errors.push(FieldError::invalid(&path, value, "must be greater than or equal to 0"));
            }
        }
    }
}

/// A number of pods, or a percentage of them.
fn bound(value: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) => match percentage(text) {
            None => {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' \
                    (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(path, text, detail));
            }
            Some(percent) if percent > 100 => {
                errors.push(FieldError::invalid(path, text, "must not be greater than 100%"));
            }
            Some(_) => {}
        },
        count => {
            if let Some(count) = count.as_i64().filter(|count| *count < 0) {
                errors.push(FieldError::invalid(path, count, "must be greater than or equal to 0"));
            }
        }
    }
}

/// The number before the sign.
pub(crate) fn percentage(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    // A number that does not fit is beyond every bound.
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
