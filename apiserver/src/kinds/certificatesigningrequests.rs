//! Requests for certificates. What becomes of them is [`crate::certificates`]'s.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::{Map, Value};

use super::field::{FieldError, Path};
use super::values::{as_object, child, items, number, string};
use super::{
    ALL_VERBS, Behaviour, Body, Kind, NameRule, Part, Scope, Storage, Subresource, define, names, text,
};
use crate::api::timestamp;
use crate::pki::request::Requested;
use crate::table::certificates::COLUMNS;

const CSR: Body = Body {
    group: "certificates.k8s.io",
    version: "v1",
    kind: "CertificateSigningRequest",
    define: define::<CertificateSigningRequest>,
};

const PART_VERBS: &[&str] = &["get", "patch", "update"];

pub(crate) static CERTIFICATESIGNINGREQUESTS: Kind = Kind {
    body: CSR,
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[
        Subresource { name: "approval", body: CSR, verbs: PART_VERBS },
        Subresource { name: "status", body: CSR, verbs: PART_VERBS },
    ],
    storage: Storage::Own,
    name_rule: NameRule::PathSegment,
    generation: false,
    behaviour: &Requests,
    columns: COLUMNS,
};

/// Every usage that a certificate can be asked for.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Longest name of a signer: a domain, a slash, and a path of as much.
const SIGNER_LIMIT: usize = 571;
/// Shortest lifetime that can be asked for, in seconds.
const SHORTEST_SECONDS: i64 = 600;
/// What only the approval may set.
const DECISIONS: &[&str] = &["Approved", "Denied"];

#[derive(Debug)]
struct Requests;

impl Behaviour for Requests {
    fn defaults(&self, request: &mut Value) {
        child(request, "status");
    }

    /// The request itself never changes; conditions and certificate change where they belong.
    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if let Some(spec) = old.get("spec") {
            as_object(new).insert("spec".to_owned(), spec.clone());
        }
        let (from_new, keep): (&[&str], _) = match part {
            Part::Approval => (DECISIONS, true),
            Part::Status => (DECISIONS, false),
            Part::Main | Part::EphemeralContainers | Part::Resize => return,
        };
        let chosen = |request: &Value, decisions: bool| -> Vec<Value> {
            let conditions = items(request.get("status").unwrap_or(&Value::Null), "conditions");
            let is_decision = |c: &&Value| from_new.contains(&string(c, "type"));
            conditions.iter().filter(|c| is_decision(c) == decisions).cloned().collect()
        };
        // An approval brings decisions, a status everything else; the rest stays as it was.
        let mut conditions = chosen(old, !keep);
        conditions.extend(chosen(new, keep));
        let before = items(old.get("status").unwrap_or(&Value::Null), "conditions");
        for condition in &mut conditions {
            stamp(condition, before);
        }
        if part == Part::Approval {
            as_object(new).insert("status".to_owned(), old.get("status").cloned().unwrap_or_default());
        }
        let status = child(new, "status");
        if conditions.is_empty() {
            status.remove("conditions");
        } else {
            status.insert("conditions".to_owned(), conditions.into());
        }
    }

    fn validate(&self, request: &Value, errors: &mut Vec<FieldError>) {
        let (spec, path) = (request.get("spec").unwrap_or(&Value::Null), Path::new("spec"));
        let pem = STANDARD.decode(string(spec, "request")).unwrap_or_default();
        if let Err(error) = Requested::read(&pem) {
            let path = path.child("request");
            errors.push(FieldError::invalid(&path, string(spec, "request"), &error.to_string()));
        }
        usages(items(spec, "usages"), &path.child("usages"), errors);
        signer_name(string(spec, "signerName"), &path.child("signerName"), errors);
        if let Some(seconds) = number(spec, "expirationSeconds").filter(|s| *s < SHORTEST_SECONDS) {
            let path = path.child("expirationSeconds");
            errors.push(FieldError::invalid(
                &path,
                seconds,
                "may not specify a duration less than 600 seconds",
            ));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part, errors: &mut Vec<FieldError>) {
        let (status, path) = (new.get("status").unwrap_or(&Value::Null), Path::new("status"));
        conditions(items(status, "conditions"), &path.child("conditions"), errors);
        if part == Part::Status {
            certificate(
                status,
                old.get("status").unwrap_or(&Value::Null),
                &path.child("certificate"),
                errors,
            );
        }
    }

    fn field<'a>(&self, request: &'a Value, field: &str) -> Option<Cow<'a, str>> {
        (field == "spec.signerName").then(|| text(request, "/spec/signerName").into())
    }
}

/// Fills in when a condition was written, and when its status came to be.
fn stamp(condition: &mut Value, before: &[Value]) {
    let now = timestamp(jiff::Timestamp::now());
    let old = before.iter().find(|c| string(c, "type") == string(condition, "type"));
    let since = match old {
        Some(old) if string(old, "status") == string(condition, "status") => {
            string(old, "lastTransitionTime")
        }
        _ => "",
    };
    let since = if since.is_empty() { now.clone() } else { since.to_owned() };
    let fields = as_object(condition);
    let absent = |fields: &Map<String, Value>, name: &str| {
        fields.get(name).and_then(Value::as_str).is_none_or(str::is_empty)
    };
    if absent(fields, "lastTransitionTime") {
        fields.insert("lastTransitionTime".to_owned(), since.into());
    }
    if absent(fields, "lastUpdateTime") {
        fields.insert("lastUpdateTime".to_owned(), now.into());
    }
}

fn usages(usages: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    if usages.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let mut seen = HashSet::new();
    for (index, usage) in usages.iter().filter_map(Value::as_str).enumerate() {
        if !USAGES.contains(&usage) {
            errors.push(FieldError::not_supported(&path.index(index), usage, USAGES));
        }
        if !seen.insert(usage) {
            errors.push(FieldError::duplicate(&path.index(index), usage));
        }
    }
}

fn signer_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    const FORM: &str = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name == "kubernetes.io/legacy-unknown" {
        let detail = "kubernetes.io/legacy-unknown is not allowed via this API version";
        errors.push(FieldError::invalid(path, name, detail));
        return;
    }
    if name.len() > SIGNER_LIMIT {
        errors.push(FieldError::too_long(path, SIGNER_LIMIT));
    }
    let Some((domain, signer)) = name.split_once('/').filter(|(_, signer)| !signer.contains('/')) else {
        errors.push(FieldError::invalid(path, name, FORM));
        return;
    };
    if !domain.contains('.') {
        errors.push(FieldError::invalid(
            path,
            name,
            "should be a domain with at least two segments separated by dots",
        ));
    }
    for part in [domain, signer] {
        errors.extend(names::subdomain(part).iter().map(|p| FieldError::invalid(path, name, p)));
    }
}

fn conditions(conditions: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let (kind, status) = (string(condition, "type"), string(condition, "status"));
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), ""));
        }
        let statuses: &[&str] = match kind {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["True", "False", "Unknown"],
        };
        if status.is_empty() {
            errors.push(FieldError::required(&path.child("status"), ""));
        } else if !statuses.contains(&status) {
            errors.push(FieldError::not_supported(&path.child("status"), status, statuses));
        }
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
    }
    if DECISIONS.iter().all(|d| seen.contains(d)) {
        let detail = "Approved and Denied conditions are mutually exclusive";
        errors.push(FieldError::invalid(&path.index(0).child("type"), "Approved", detail));
    }
}

/// A certificate is set once.
fn certificate(status: &Value, before: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (new, old) = (string(status, "certificate"), string(before, "certificate"));
    if !old.is_empty() && new != old {
        errors.push(FieldError::forbidden(path, "certificate cannot be changed once set"));
    }
    if new.is_empty() || new == old {
        return;
    }
    let pem = STANDARD.decode(new).unwrap_or_default();
    if !crate::pki::is_certificate(&pem) {
        errors.push(FieldError::invalid(path, "<certificate data>", "must contain one or more PEM blocks"));
    }
}

#[cfg(test)]
mod tests;
