//! Secrets.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value};

use super::configmaps::{DATA_LIMIT, immutable};
use super::field::{FieldError, Path};
use super::values::{default_text, entries, string};
use super::{ALL_VERBS, Behaviour, Body, Kind, NameRule, Part, Scope, Storage, define, names, text, values};
use crate::table::{AGE, Column, Columns, NAME, cells};

pub(crate) static SECRETS: Kind = Kind {
    body: Body { group: "", version: "v1", kind: "Secret", define: define::<Secret> },
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Secrets,
    columns: COLUMNS,
};

const COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::text("Type", "What the secret is for; programs use it to know which entries there are."),
        Column::number("Data", "The number of entries."),
        AGE,
    ],
    cells: |object, now| {
        let entries = cells::count(object, "/data");
        vec![cells::name(object), text(object, "/type").into(), entries.into(), cells::age(object, now)]
    },
};

/// Entries that secrets of a type must have.
const REQUIRED_ENTRIES: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];
const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

#[derive(Debug)]
struct Secrets;

impl Behaviour for Secrets {
    /// `stringData` is for writing only: it goes into `data`.
    fn defaults(&self, object: &mut Value) {
        let fields = values::as_object(object);
        default_text(fields, "type", "Opaque");
        if let Some(Value::Object(texts)) = fields.remove("stringData") {
            let encoded: Map<String, Value> = texts
                .into_iter()
                .map(|(k, v)| (k, STANDARD.encode(v.as_str().unwrap_or("")).into()))
                .collect();
            values::child_of(fields, "data").extend(encoded);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::new("data");
        let mut size = 0;
        for (key, value) in entries(object, "data") {
            errors.extend(names::config_key(key).iter().map(|p| FieldError::invalid(&path.key(key), key, p)));
            size += value.as_str().unwrap_or("").len() / 4 * 3;
        }
        if size > DATA_LIMIT {
            errors.push(FieldError::too_long(&path, DATA_LIMIT));
        }
        let kind = string(object, "type");
        let has = |key: &str| object.pointer("/data").is_some_and(|d| d.get(key).is_some());
        for (_, keys) in REQUIRED_ENTRIES.iter().filter(|(k, _)| *k == kind) {
            errors.extend(keys.iter().filter(|k| !has(k)).map(|k| FieldError::required(&path.key(k), "")));
        }
        if kind.starts_with("kubernetes.io/dockerc") {
            docker_config(object, &path, errors);
        }
        if kind == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
            errors.push(FieldError::required(&path.key("username"), ""));
            errors.push(FieldError::required(&path.key("password"), ""));
        }
        let account = object.pointer("/metadata/annotations").and_then(|a| a.get(SERVICE_ACCOUNT_NAME));
        if kind == SERVICE_ACCOUNT_TOKEN && account.and_then(Value::as_str).is_none_or(str::is_empty) {
            let path = Path::new("metadata").child("annotations").key(SERVICE_ACCOUNT_NAME);
            errors.push(FieldError::required(&path, ""));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part, errors: &mut Vec<FieldError>) {
        if string(new, "type") != string(old, "type") {
            errors.push(FieldError::invalid(&Path::new("type"), string(new, "type"), "field is immutable"));
        }
        immutable(new, old, &["data"], errors);
        self.validate(new, errors);
    }

    fn field<'a>(&self, object: &'a Value, field: &str) -> Option<Cow<'a, str>> {
        (field == "type").then(|| string(object, "type").into())
    }
}

/// A registry's credentials must be JSON; the message does not show them.
fn docker_config(object: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in [".dockercfg", ".dockerconfigjson"] {
        let Some(encoded) = object.pointer("/data").and_then(|d| d.get(key)).and_then(Value::as_str) else {
            continue;
        };
        let bytes = STANDARD.decode(encoded).unwrap_or_default();
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
            errors.push(FieldError::invalid(
                &path.key(key),
                "<secret contents redacted>",
                &error.to_string(),
            ));
        }
    }
}
