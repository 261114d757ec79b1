//! Probes and lifecycle hooks.

use serde_json::Value;

use super::{Errors, invalid_all, not_negative, one_of, required};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;
use crate::kinds::values::{items, number, string};

const PROBE_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

pub(super) fn all(container: &Value, path: &Path, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(value) = container.get(name) {
            probe(value, name, &path.child(name), errors);
        }
    }
    for name in ["postStart", "preStop"] {
        if let Some(hook) = container.get("lifecycle").and_then(|l| l.get(name)) {
            handler(hook, HOOK_HANDLERS, &path.child("lifecycle").child(name), errors);
        }
    }
}

fn probe(probe: &Value, name: &str, path: &Path, errors: &mut Errors) {
    handler(probe, PROBE_HANDLERS, path, errors);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        not_negative(probe, field, path, errors);
    }
    if let Some(grace) = number(probe, "terminationGracePeriodSeconds") {
        let path = path.child("terminationGracePeriodSeconds");
        if name == "readinessProbe" {
            errors.push(FieldError::invalid(&path, grace, "must not be set for readinessProbes"));
        } else if grace <= 0 {
            errors.push(FieldError::invalid(&path, grace, "must be greater than 0"));
        }
    }
    if let Some(threshold) = number(probe, "successThreshold").filter(|t| *t > 1 && name != "readinessProbe")
    {
        errors.push(FieldError::invalid(&path.child("successThreshold"), threshold, "must be 1"));
    }
}

/// Exactly one way to do it.
fn handler(value: &Value, kinds: &[&str], path: &Path, errors: &mut Errors) {
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
            "sleep" => not_negative(handler, "seconds", &path, errors),
            _ => {}
        }
    }
    if !found {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn http_get(get: &Value, path: &Path, errors: &mut Errors) {
    required(get, "path", path, errors);
    port(get, &path.child("port"), errors);
    one_of(string(get, "scheme"), &["HTTP", "HTTPS"], &path.child("scheme"), errors);
    for (index, header) in items(get, "httpHeaders").iter().enumerate() {
        let name = string(header, "name");
        let fine = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        if !fine {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            errors.push(FieldError::invalid(
                &path.child("httpHeaders").index(index).child("name"),
                name,
                detail,
            ));
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
