//! Probes and lifecycle hooks.

use serde_json::Value;

use super::{Errors, invalid_all, not_negative, one_of, required};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;
use crate::kinds::values::{items, number, string};

const PROBE_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

/// `grace_seconds` is how long the pod may take to end.
pub(super) fn all(container: &Value, grace_seconds: Option<i64>, path: &Path, errors: &mut Errors) {
    for name in ["postStart", "preStop"] {
        if let Some(hook) = container.get("lifecycle").and_then(|l| l.get(name)) {
            let path = path.child("lifecycle").child(name);
            handler(hook, HOOK_HANDLERS, grace_seconds, &path, errors);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(value) = container.get(name) {
            probe(value, name, &path.child(name), errors);
        }
    }
}

fn probe(probe: &Value, name: &str, path: &Path, errors: &mut Errors) {
    handler(probe, PROBE_HANDLERS, None, path, errors);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        not_negative(probe, field, path, errors);
    }
    let readiness = name == "readinessProbe";
    if let Some(grace) = number(probe, "terminationGracePeriodSeconds") {
        let path = path.child("terminationGracePeriodSeconds");
        if grace <= 0 {
            errors.push(FieldError::invalid(&path, grace, "must be greater than 0"));
        }
        if readiness {
            errors.push(FieldError::invalid(&path, grace, "must not be set for readinessProbes"));
        }
    }
    if let Some(threshold) = number(probe, "successThreshold").filter(|t| *t != 1 && !readiness) {
        errors.push(FieldError::invalid(&path.child("successThreshold"), threshold, "must be 1"));
    }
}

/// Exactly one way to do it.
fn handler(value: &Value, kinds: &[&str], grace_seconds: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for kind in kinds {
        let Some(handler) = value.get(*kind) else { continue };
        let path = path.child(kind);
        if found {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        found = true;
        match *kind {
            "exec" if items(handler, "command").is_empty() => {
                errors.push(FieldError::required(&path.child("command"), ""));
            }
            "httpGet" => http_get(handler, &path, errors),
            "tcpSocket" | "grpc" => port(handler, &path.child("port"), errors),
            "sleep" => sleep(handler, grace_seconds, &path, errors),
            _ => {}
        }
    }
    if !found {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn sleep(sleep: &Value, grace_seconds: Option<i64>, path: &Path, errors: &mut Errors) {
    let (Some(grace), seconds) = (grace_seconds, number(sleep, "seconds").unwrap_or(0)) else { return };
    if !(0..=grace).contains(&seconds) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(path, seconds, &detail));
    }
}

fn http_get(get: &Value, path: &Path, errors: &mut Errors) {
    required(get, "path", path, errors);
    port(get, &path.child("port"), errors);
    one_of(string(get, "scheme"), &["HTTP", "HTTPS"], &path.child("scheme"), errors);
    for header in items(get, "httpHeaders") {
        let name = string(header, "name");
        let fine = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        if !fine {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            errors.push(FieldError::invalid(&path.child("httpHeaders"), name, detail));
        }
    }
}

/// A number, or the name of a port.
fn port(handler: &Value, path: &Path, errors: &mut Errors) {
    match handler.get("port") {
        Some(Value::String(name)) => invalid_all(&names::port_name(name), name, path, errors),
        other => {
            let port = other.and_then(Value::as_i64).unwrap_or(0);
            if let Some(problem) = names::port_number(port) {
                errors.push(FieldError::invalid(path, port, problem));
            }
        }
    }
}
