//! Requests and limits.

use std::collections::HashSet;
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

/// `path` is the container's, `restart_policy` the pod's.
pub(super) fn container(container: &Value, restart_policy: &str, path: &Path, errors: &mut Errors) {
    if let Some(resources) = container.get("resources") {
        requirements(resources, STANDARD, &path.child("resources"), errors);
    }
    let path = path.child("resizePolicy");
    let mut seen = HashSet::new();
    for (index, policy) in items(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (string(policy, "resourceName"), string(policy, "restartPolicy"));
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(&path.index(index), resource));
        }
        super::one_of(resource, POD_LEVEL, &path, errors);
        super::one_of(restart, RESIZE_POLICIES, &path, errors);
        if restart_policy == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(&path, restart, detail));
        }
    }
}

/// `spec.resources`: enough for all containers together, and no less than what each may have.
pub(super) fn pod_level(pod: &Value, path: &Path, errors: &mut Errors) {
    let Some(spec) = pod.get("spec") else { return };
    let Some(resources) = spec.get("resources") else { return };
    requirements(resources, POD_LEVEL, path, errors);
    let mut apart = super::super::typed(pod);
    if let Some(spec) = &mut apart.spec {
        spec.resources = None;
        spec.overhead = None;
    }
    let together = podspec::pod_requests(&apart);
    for (name, request) in entries(resources, "requests") {
        if let (Some(amount), Some(sum)) = (parsed(request), together.get(name))
            && *sum > amount
        {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(FieldError::invalid(&path.child("requests").key(name), request, &detail));
        }
    }
    for (index, container) in items(spec, "containers").iter().enumerate() {
        let own = container.get("resources").unwrap_or(&Value::Null);
        for (name, limit) in entries(own, "limits") {
            let whole = resources.get("limits").and_then(|l| l.get(name)).and_then(parsed);
            if let (Some(amount), Some(whole)) = (parsed(limit), whole)
                && amount > whole
            {
                let path = path.child("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {whole}");
                errors.push(FieldError::invalid(&path, limit, &detail));
            }
        }
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
