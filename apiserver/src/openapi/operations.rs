//! The paths of a kind and what can be done there.

use serde_json::{Map, Value, json};

use super::{Dialect, base_path};
use crate::kinds::{Body, Kind, Subresource};

/// The content types of patches; strategic merge patches are what `kubectl apply` looks for.
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// All paths of a kind. `reference` gives the schema of a body.
pub(super) fn paths(
    kind: &Kind,
    dialect: Dialect,
    reference: &dyn Fn(&Body) -> Value,
) -> Vec<(String, Value)> {
    let base = format!("/{}", base_path(kind.body.group, kind.body.version));
    let plural = kind.plural;
    let collection = if kind.namespaced() {
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    let object = format!("{collection}/{{name}}");
    let build = |path: &str, verbs: &[(&str, &str)], body: &Body| {
        let mut item = Map::new();
        for (verb, method) in verbs {
            let operation = operation(kind, body, verb, path, dialect, reference);
            item.insert((*method).to_owned(), operation);
        }
        item.insert("parameters".to_owned(), path_parameters(path, dialect));
        (path.to_owned(), Value::Object(item))
    };
    let allowed = |verbs: &[(&'static str, &'static str)]| -> Vec<(&'static str, &'static str)> {
        verbs.iter().copied().filter(|(verb, _)| kind.allows(verb)).collect()
    };
    let mut all = vec![build(
        &collection,
        &allowed(&[("list", "get"), ("create", "post"), ("deletecollection", "delete")]),
        &kind.body,
    )];
    let single = allowed(&[("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete")]);
    if !single.is_empty() {
        all.push(build(&object, &single, &kind.body));
    }
    if kind.namespaced() && kind.allows("list") {
        all.push(build(&format!("{base}/{plural}"), &[("list", "get")], &kind.body));
    }
    for subresource in kind.subresources {
        if subresource.connects() {
            all.extend(connects(kind, subresource, &format!("{object}/{}", subresource.name), dialect));
            continue;
        }
        let methods = [("get", "get"), ("create", "post"), ("update", "put"), ("patch", "patch")];
        let verbs: Vec<_> =
            methods.into_iter().filter(|(verb, _)| subresource.verbs.contains(verb)).collect();
        all.push(build(&format!("{object}/{}", subresource.name), &verbs, &subresource.body));
    }
    all
}

/// The paths of a sub-resource that is a connection: what it sends and gets is no object.
fn connects(kind: &Kind, sub: &Subresource, path: &str, dialect: Dialect) -> Vec<(String, Value)> {
    const METHODS: &[&str] = &["get", "post", "put", "patch", "delete", "head", "options"];
    let proxy = sub.name == "proxy";
    let methods = METHODS.iter().filter(|method| proxy || matches!(**method, "get" | "post"));
    let build = |path: &str| {
        let mut item: Map<String, Value> = methods
            .clone()
            .map(|method| ((*method).to_owned(), connect_operation(kind, sub, method, path, dialect)))
            .collect();
        let mut parameters = path_parameters(path, dialect);
        if let Some(list) = parameters.as_array_mut() {
            list.extend(options_of(sub).iter().map(|(name, kind)| query_parameter(name, kind, dialect)));
        }
        item.insert("parameters".to_owned(), parameters);
        (path.to_owned(), Value::Object(item))
    };
    let mut all = vec![build(path)];
    if proxy {
        all.push(build(&format!("{path}/{{path}}")));
    }
    all
}

fn connect_operation(kind: &Kind, sub: &Subresource, method: &str, path: &str, dialect: Dialect) -> Value {
    let body = &sub.body;
    let text = json!({ "type": "string" });
    let answer = match dialect {
        Dialect::V3 => json!({ "description": "OK", "content": { "*/*": { "schema": text } } }),
        Dialect::V2 => json!({ "description": "OK", "schema": text }),
    };
    json!({
        "description": format!("connect {} requests to {}", method.to_ascii_uppercase(), path.trim_start_matches('/')),
        "operationId": operation_id(&format!("connect{}", method.to_ascii_uppercase()), path),
        "tags": [tag(kind)],
        "x-kubernetes-action": "connect",
        "x-kubernetes-group-version-kind": { "group": body.group, "version": body.version, "kind": body.kind },
        "responses": { "200": answer },
    })
}

/// The options of a connection with their types.
fn options_of(sub: &Subresource) -> &'static [(&'static str, &'static str)] {
    match sub.name {
        "exec" => &[
            ("command", "string"),
            ("container", "string"),
            ("stderr", "boolean"),
            ("stdin", "boolean"),
            ("stdout", "boolean"),
            ("tty", "boolean"),
        ],
        "attach" => &[
            ("container", "string"),
            ("stderr", "boolean"),
            ("stdin", "boolean"),
            ("stdout", "boolean"),
            ("tty", "boolean"),
        ],
        "portforward" => &[("ports", "integer")],
        _ => &[],
    }
}

fn tag(kind: &Kind) -> String {
    let group = if kind.body.group.is_empty() { "core" } else { kind.body.group };
    format!("{group}_{}", kind.body.version)
}

fn operation(
    kind: &Kind,
    body: &Body,
    verb: &str,
    path: &str,
    dialect: Dialect,
    reference: &dyn Fn(&Body) -> Value,
) -> Value {
    let action = match verb {
        "create" => "post",
        "update" => "put",
        other => other,
    };
    let schema = reference(body);
    let mut operation = json!({
        "description": format!("{verb} {}", path.trim_start_matches('/')),
        "operationId": operation_id(verb, path),
        "tags": [tag(kind)],
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": { "group": body.group, "version": body.version, "kind": body.kind },
    });
    let mut parameters: Vec<Value> =
        query(verb).iter().map(|(name, kind)| query_parameter(name, kind, dialect)).collect();
    let patch = verb == "patch";
    let media: &[&str] = if patch { PATCH_TYPES } else { &["application/json", "application/yaml"] };
    let has_body = matches!(verb, "create" | "update" | "patch");
    let body_schema = if patch { json!({ "type": "object" }) } else { schema.clone() };
    match dialect {
        Dialect::V3 => {
            let content = |schema: &Value, media: &[&str]| -> Map<String, Value> {
                media.iter().map(|m| ((*m).to_owned(), json!({ "schema": schema }))).collect()
            };
            if has_body {
                operation["requestBody"] =
                    json!({ "required": true, "content": content(&body_schema, media) });
            }
            operation["responses"] =
                json!({ "200": { "description": "OK", "content": content(&schema, &["application/json"]) } });
        }
        Dialect::V2 => {
            if has_body {
                parameters
                    .push(json!({ "name": "body", "in": "body", "required": true, "schema": body_schema }));
                operation["consumes"] = json!(media);
            }
            operation["produces"] = json!(["application/json"]);
            operation["responses"] = json!({ "200": { "description": "OK", "schema": schema } });
        }
    }
    operation["parameters"] = parameters.into();
    operation
}

/// `readCoreV1NamespacedPod` and the like: unique, and made of the path.
fn operation_id(verb: &str, path: &str) -> String {
    let mut id = verb.to_owned();
    for part in path.split(['/', '.', '-']).filter(|p| !p.is_empty()) {
        let word = part.trim_matches(['{', '}']);
        let by = if part.starts_with('{') { "By" } else { "" };
        id.push_str(by);
        let mut letters = word.chars();
        id.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        id.push_str(letters.as_str());
    }
    id
}

/// The query parameters of a verb with their types.
fn query(verb: &str) -> &'static [(&'static str, &'static str)] {
    match verb {
        "create" | "update" => {
            &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")]
        }
        "patch" => &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
            ("force", "boolean"),
        ],
        "delete" => &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
        "list" | "deletecollection" => &[
            ("allowWatchBookmarks", "boolean"),
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
        _ => &[],
    }
}

fn query_parameter(name: &str, kind: &str, dialect: Dialect) -> Value {
    parameter(name, "query", kind, false, dialect)
}

fn path_parameters(path: &str, dialect: Dialect) -> Value {
    ["name", "namespace", "path"]
        .iter()
        .filter(|name| path.contains(&format!("{{{name}}}")))
        .map(|name| parameter(name, "path", "string", true, dialect))
        .collect()
}

fn parameter(name: &str, place: &str, kind: &str, required: bool, dialect: Dialect) -> Value {
    let mut parameter = match dialect {
        Dialect::V3 => json!({ "name": name, "in": place, "schema": { "type": kind, "uniqueItems": true } }),
        Dialect::V2 => json!({ "name": name, "in": place, "type": kind, "uniqueItems": true }),
    };
    if required {
        parameter["required"] = true.into();
    }
    parameter
}
