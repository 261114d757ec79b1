//! Requests and limits.

use std::str::FromStr as _;

use podspec::Quantity;
use serde_json::Value;

use super::{Errors, NOT_NEGATIVE, invalid_all};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;
use crate::kinds::values::{entries, items, string};

/// What containers can have without a domain in the name; `hugepages-SIZE` too.
const STANDARD: &[&str] = &["cpu", "memory", "ephemeral-storage"];
const POD_LEVEL: &[&str] = &["cpu", "memory"];
const HUGE_PAGES: &str = "hugepages-";
const RESIZE_POLICIES: &[&str] = &["NotRequired", "RestartContainer"];

/// `path` is the container's.
pub(super) fn container(container: &Value, path: &Path, errors: &mut Errors) {
    if let Some(resources) = container.get("resources") {
        requirements(resources, STANDARD, &path.child("resources"), errors);
    }
    for (index, policy) in items(container, "resizePolicy").iter().enumerate() {
        let path = path.child("resizePolicy").index(index);
        super::one_of(
            string(policy, "resourceName"),
            &["cpu", "memory"],
            &path.child("resourceName"),
            errors,
        );
        super::one_of(string(policy, "restartPolicy"), RESIZE_POLICIES, &path.child("restartPolicy"), errors);
    }
}

/// `spec.resources`.
pub(super) fn pod_level(spec: &Value, path: &Path, errors: &mut Errors) {
    if let Some(resources) = spec.get("resources") {
        requirements(resources, POD_LEVEL, path, errors);
    }
}

fn requirements(resources: &Value, standard: &[&str], path: &Path, errors: &mut Errors) {
    for list in ["limits", "requests"] {
        for (name, value) in entries(resources, list) {
            let path = path.child(list).key(name);
            resource_name(name, standard, &path, errors);
            amount(value, &path, errors);
            let whole = !standard.contains(&name.as_str());
            if whole && parsed(value).is_some_and(|q| q.milli_value() % 1000 != 0) {
                errors.push(FieldError::invalid(&path, value, "must be an integer"));
            }
        }
    }
    for (name, request) in entries(resources, "requests") {
        let limit = resources.get("limits").and_then(|l| l.get(name));
        let (limits, path) = (path.child("limits"), path.child("requests"));
        let overcommits = standard.contains(&name.as_str());
        match (parsed(request), limit.and_then(parsed)) {
            (Some(request_amount), Some(limit)) if !overcommits && request_amount != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&path, request, &detail));
            }
            (Some(request_amount), Some(limit)) if request_amount > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&path, request, &detail));
            }
            (Some(_), None) if !overcommits => {
                errors.push(FieldError::required(
                    &limits,
                    "Limit must be set for non overcommitable resources",
                ));
            }
            _ => {}
        }
    }
}

fn parsed(value: &Value) -> Option<Quantity> {
    value.as_str().and_then(|text| Quantity::from_str(text).ok())
}

/// The schema check has seen that it is a quantity.
pub(super) fn amount(value: &Value, path: &Path, errors: &mut Errors) {
    if parsed(value).is_some_and(|q| q.is_negative()) {
        errors.push(FieldError::invalid(path, value, NOT_NEGATIVE));
    }
}

fn resource_name(name: &str, standard: &[&str], path: &Path, errors: &mut Errors) {
    invalid_all(&names::qualified_name(name), name, path, errors);
    if !name.contains('/') && !standard.contains(&name) && !name.starts_with(HUGE_PAGES) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
        errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    }
}
