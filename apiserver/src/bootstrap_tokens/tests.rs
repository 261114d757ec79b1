//! A bootstrap token is good as long as its secret says so, for what it says.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{TokenSecret, Usage, parse, user_of};

const TOKEN: &str = "abcdef.0123456789abcdef";

fn secret(change: impl FnOnce(&mut Value)) -> Value {
    let mut entries = json!({
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        "expiration": "2030-01-01T00:00:00Z",
    });
    change(&mut entries);
    let encoded = |v: &Value| STANDARD.encode(v.as_str().unwrap());
    let data: serde_json::Map<String, Value> =
        entries.as_object().unwrap().iter().map(|(k, v)| (k.clone(), encoded(v).into())).collect();
    json!({
        "metadata": { "name": "bootstrap-token-abcdef", "namespace": "kube-system" },
        "type": "bootstrap.kubernetes.io/token",
        "data": data,
    })
}

fn user(token: &str, secret: Value) -> Option<(String, Vec<String>)> {
    let now: Timestamp = "2029-12-31T23:59:59Z".parse().unwrap();
    let of = |name: &str| (name == "bootstrap-token-abcdef").then(|| Arc::new(secret));
    user_of(token, of, now).map(|user| (user.name, user.groups))
}

#[test]
fn a_good_token_is_a_user_with_its_groups() {
    let (name, groups) = user(TOKEN, secret(|_| ())).unwrap();
    assert_eq!(name, "system:bootstrap:abcdef");
    assert_eq!(
        groups,
        ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"]
    );
    let (_, groups) = user(TOKEN, secret(|s| s["auth-extra-groups"] = "".into())).unwrap();
    assert_eq!(groups, ["system:bootstrappers", "system:authenticated"]);
    assert!(user(TOKEN, secret(|s| drop(s.as_object_mut().unwrap().remove("expiration")))).is_some());
}

#[test]
fn anything_that_is_not_in_order_makes_it_no_token() {
    for wrong in [
        "abcdef.0123456789abcdeg",
        "abcdef.0123456789abcde",
        "abcdeg.0123456789abcdef",
        "abcdef",
        "",
        "ABCDEF.0123456789abcdef",
    ] {
        assert_eq!(user(wrong, secret(|_| ())), None, "{wrong}");
    }
    for (field, value) in [
        ("token-id", "abcdeg"),
        ("token-secret", ""),
        ("usage-bootstrap-authentication", "false"),
        ("usage-bootstrap-authentication", "True"),
        ("expiration", "2029-12-31T23:59:59Z"),
        ("expiration", "tomorrow"),
        ("auth-extra-groups", "system:masters"),
        ("auth-extra-groups", "system:bootstrappers:"),
        ("auth-extra-groups", "system:bootstrappers:A"),
        ("auth-extra-groups", "system:bootstrappers:a-"),
        ("auth-extra-groups", "system:bootstrappers:a,"),
    ] {
        assert_eq!(user(TOKEN, secret(|s| s[field] = value.into())), None, "{field}: {value}");
    }
    let mut other = secret(|_| ());
    other["type"] = "Opaque".into();
    assert_eq!(user(TOKEN, other), None);
    let mut leaving = secret(|_| ());
    leaving["metadata"]["deletionTimestamp"] = "2029-01-01T00:00:00Z".into();
    assert_eq!(user(TOKEN, leaving), None);
}

#[test]
fn the_usages_are_apart() {
    let secret = secret(|s| s["usage-bootstrap-signing"] = "".into());
    let secret = TokenSecret::of(&secret).unwrap();
    assert!(secret.is_for(Usage::Authentication) && !secret.is_for(Usage::Signing));
    let mut renamed = secret.0.clone();
    renamed["metadata"]["name"] = "bootstrap-token-abcdeg".into();
    assert_eq!(TokenSecret::of(&renamed).unwrap().id(), None, "the name belongs to the token");
}

#[test]
fn no_token_makes_it_panic() {
    bolero::check!().with_type::<String>().for_each(|token| {
        if let Some((id, secret)) = parse(token) {
            assert_eq!(format!("{id}.{secret}"), *token);
        }
    });
}
