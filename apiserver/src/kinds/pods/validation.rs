//! What makes a pod wrong, in upstream's words.

use std::net::IpAddr;

use serde_json::Value;

use crate::kinds::field::{FieldError, Path};
use crate::kinds::values::{entries, is_true, items, number, string};
use crate::kinds::{metadata, names};

mod containers;
mod ephemeral;
mod handlers;
mod resources;
mod restarts;
mod scheduling;
mod security;
mod sources;
mod volumes;

type Errors = Vec<FieldError>;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// What a pod is resolved with at most.
const NAMESERVERS_LIMIT: usize = 3;
const SEARCHES_LIMIT: usize = 32;
const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const PREEMPTION_POLICIES: &[&str] = &["Never", "PreemptLowerPriority"];

pub(super) fn pod(pod: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let Some(spec) = pod.get("spec") else {
        errors.push(FieldError::required(&path.child("containers"), ""));
        return;
    };
    let volumes = volumes::volumes(items(spec, "volumes"), &path.child("volumes"), errors);
    containers::all(spec, &volumes, &path, errors);
    one_of(string(spec, "restartPolicy"), RESTART_POLICIES, &path.child("restartPolicy"), errors);
    one_of(string(spec, "dnsPolicy"), DNS_POLICIES, &path.child("dnsPolicy"), errors);
    dns(spec, &path.child("dnsConfig"), errors);
    names_of_objects(spec, &path, errors);
    periods(spec, &path, errors);
    metadata::labels(spec.get("nodeSelector"), &path.child("nodeSelector"), errors);
    security::pod(spec, &path, errors);
    scheduling::all(spec, &path, errors);
    host_aliases(spec, &path.child("hostAliases"), errors);
    resources::pod_level(pod, &path.child("resources"), errors);
    for (name, amount) in entries(spec, "overhead") {
        resources::amount(amount, &path.child("overhead").key(name), errors);
    }
    for (index, gate) in items(spec, "readinessGates").iter().enumerate() {
        let kind = string(gate, "conditionType");
        let path = path.child("readinessGates").index(index).child("conditionType");
        invalid_all(&names::qualified_name(kind), kind, &path, errors);
    }
    if let Some(os) = spec.get("os") {
        one_of(string(os, "name"), &["linux", "windows"], &path.child("os").child("name"), errors);
    }
    let policy = string(spec, "preemptionPolicy");
    if !policy.is_empty() {
        one_of(policy, PREEMPTION_POLICIES, &path.child("preemptionPolicy"), errors);
    }
}

/// Each problem of a value as an error of its own.
fn invalid_all(problems: &[String], value: &str, path: &Path, errors: &mut Errors) {
    errors.extend(problems.iter().map(|p| FieldError::invalid(path, value, p)));
}

/// A value that must be given and be one of a few.
fn one_of(value: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !supported.contains(&value) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

/// A text that must be given.
fn required<'a>(holder: &'a Value, field: &str, path: &Path, errors: &mut Errors) -> &'a str {
    let text = string(holder, field);
    if text.is_empty() {
        errors.push(FieldError::required(&path.child(field), ""));
    }
    text
}

fn not_negative(holder: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(value) = number(holder, field).filter(|v| *v < 0) {
        errors.push(FieldError::invalid(&path.child(field), value, NOT_NEGATIVE));
    }
}

/// A path below some directory: not absolute, and not leading out.
fn local_path(text: &str, path: &Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.push(FieldError::invalid(path, text, "must be a relative path"));
    }
    no_back_steps(text, path, errors);
}

fn no_back_steps(text: &str, path: &Path, errors: &mut Errors) {
    if text.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, text, "must not contain '..'"));
    }
}

fn dns(spec: &Value, path: &Path, errors: &mut Errors) {
    let none = string(spec, "dnsPolicy") == "None";
    let Some(config) = spec.get("dnsConfig") else {
        if none {
            errors.push(FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
        }
        return;
    };
    let servers = items(config, "nameservers");
    if none && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&path.child("nameservers"), detail));
    }
    if servers.len() > NAMESERVERS_LIMIT {
        let detail = format!("must not have more than {NAMESERVERS_LIMIT} nameservers");
        errors.push(FieldError::invalid(&path.child("nameservers"), &config["nameservers"], &detail));
    }
    for (index, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        address(server, &path.child("nameservers").index(index), errors);
    }
    let searches = items(config, "searches");
    if searches.len() > SEARCHES_LIMIT {
        let detail = format!("must not have more than {SEARCHES_LIMIT} search paths");
        errors.push(FieldError::invalid(&path.child("searches"), &config["searches"], &detail));
    }
    for (index, search) in searches.iter().filter_map(Value::as_str).enumerate() {
        // A dot alone, a dot at the end and underscores are fine here.
        let form = search.strip_suffix('.').unwrap_or(search).replace('_', "-");
        if search != "." {
            invalid_all(
                &names::subdomain(form.trim_matches('-')),
                search,
                &path.child("searches").index(index),
                errors,
            );
        }
    }
    for (index, option) in items(config, "options").iter().enumerate() {
        if string(option, "name").is_empty() {
            errors.push(FieldError::required(&path.child("options").index(index), "must not be empty"));
        }
    }
}

fn address(text: &str, path: &Path, errors: &mut Errors) {
    if text.parse::<IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(path, text, detail));
    }
}

fn host_aliases(spec: &Value, path: &Path, errors: &mut Errors) {
    for (index, alias) in items(spec, "hostAliases").iter().enumerate() {
        let path = path.index(index);
        address(string(alias, "ip"), &path.child("ip"), errors);
        for (index, name) in items(alias, "hostnames").iter().filter_map(Value::as_str).enumerate() {
            invalid_all(&names::subdomain(name), name, &path.child("hostnames").index(index), errors);
        }
    }
}

/// References to other objects, and the names that the pod goes by.
fn names_of_objects(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in
        ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName", "hostnameOverride"]
    {
        let name = string(spec, field);
        if !name.is_empty() {
            invalid_all(&names::subdomain(name), name, &path.child(field), errors);
        }
    }
    for field in ["hostname", "subdomain"] {
        let name = string(spec, field);
        if !name.is_empty() {
            invalid_all(&names::label(name), name, &path.child(field), errors);
        }
    }
    for (index, secret) in items(spec, "imagePullSecrets").iter().enumerate() {
        required(secret, "name", &path.child("imagePullSecrets").index(index), errors);
    }
    let scheduler = string(spec, "schedulerName");
    invalid_all(&names::subdomain(scheduler), scheduler, &path.child("schedulerName"), errors);
}

fn periods(spec: &Value, path: &Path, errors: &mut Errors) {
    if let Some(deadline) =
        number(spec, "activeDeadlineSeconds").filter(|d| !(1..=i64::from(i32::MAX)).contains(d))
    {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), deadline, &detail));
    }
    if is_true(spec, "shareProcessNamespace") && is_true(spec, "hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
}
