//! Requests for certificates are checked when they are made, and stay what they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::CERTIFICATESIGNINGREQUESTS as KIND;
use crate::kinds::Part;

/// A request for whose content the parser is not asked.
fn object(spec: Value) -> Value {
    let mut object = json!({
        "metadata": { "name": "node-csr-Yc_7" },
        "spec": { "request": "", "signerName": "example.com/signer", "usages": ["client auth"] },
        "status": {},
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

fn errors(spec: Value) -> Vec<String> {
    KIND.validate_create(&object(spec)).iter().map(ToString::to_string).collect()
}

#[test]
fn everything_that_is_asked_for_is_looked_at() {
    let pem = STANDARD.encode(crate::pki::request::tests::request(|_| ()));
    assert_eq!(errors(json!({ "request": pem, "expirationSeconds": 600 })), Vec::<String>::new());
    let one = |field: &str, value: Value| errors(json!({ "request": pem, field: value })).join("\n");
    assert_eq!(
        one("request", STANDARD.encode("x").into()),
        "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST"
    );
    assert_eq!(
        one("expirationSeconds", 599.into()),
        "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds"
    );
    assert_eq!(one("usages", json!([])), "spec.usages: Required value");
    assert!(
        one("usages", json!(["fly"]))
            .starts_with("spec.usages[0]: Unsupported value: \"fly\": supported values: \"any\"")
    );
    assert_eq!(
        one("usages", json!(["client auth", "client auth"])),
        "spec.usages[1]: Duplicate value: \"client auth\""
    );
    for wrong in ["", "signer", "a.b/c/d", "local/c", "kubernetes.io/legacy-unknown", "a.b/C"] {
        assert!(one("signerName", wrong.into()).starts_with("spec.signerName: "), "{wrong}");
    }
}

fn updated(old: &Value, change: Value, part: Part) -> Value {
    let mut new = change;
    new["metadata"] = old["metadata"].clone();
    KIND.prepare_update(&mut new, old, part);
    new
}

fn condition(kind: &str) -> Value {
    json!({ "type": kind, "status": "True", "reason": "r" })
}

#[test]
fn an_approval_decides_and_touches_nothing_else() {
    let mut old = object(json!({}));
    old["status"]["conditions"] = json!([condition("Failed")]);
    let change = json!({
        "spec": { "signerName": "other.com/signer" },
        "status": { "certificate": "eA==", "conditions": [condition("Approved"), condition("Ready")] },
    });
    let new = updated(&old, change, Part::Approval);
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!(new["status"].get("certificate"), None);
    let kinds: Vec<&str> =
        new["status"]["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Failed", "Approved"]);
    let approved = &new["status"]["conditions"][1];
    assert!(approved["lastUpdateTime"].is_string() && approved["lastTransitionTime"].is_string());
}

#[test]
fn a_status_brings_the_certificate_and_decides_nothing() {
    let mut old = object(json!({}));
    old["status"]["conditions"] = json!([condition("Approved")]);
    let certificate = STANDARD.encode("not a certificate");
    let change = json!({
        "status": { "certificate": certificate, "conditions": [condition("Denied"), condition("Failed")] },
    });
    let new = updated(&old, change, Part::Status);
    let kinds: Vec<&str> =
        new["status"]["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Approved", "Failed"]);
    let told = KIND.validate_update(&new, &old, Part::Status);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].to_string().starts_with("status.certificate: Invalid value"), "{told:?}");
    let mut issued = old.clone();
    issued["status"]["certificate"] = "eA==".into();
    let told = KIND.validate_update(&old, &issued, Part::Status);
    assert_eq!(told[0].to_string(), "status.certificate: Forbidden: certificate cannot be changed once set");
}

#[test]
fn nobody_approves_and_denies_at_once() {
    let old = object(json!({}));
    let change = json!({ "status": { "conditions": [condition("Approved"), condition("Denied")] } });
    let told = KIND.validate_update(&updated(&old, change, Part::Approval), &old, Part::Approval);
    assert!(told[0].to_string().contains("mutually exclusive"), "{told:?}");
    let untrue = json!({ "status": { "conditions": [{ "type": "Approved", "status": "False" }] } });
    let told = KIND.validate_update(&updated(&old, untrue, Part::Approval), &old, Part::Approval);
    assert_eq!(
        told[0].to_string(),
        "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""
    );
}
