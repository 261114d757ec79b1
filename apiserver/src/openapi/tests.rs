//! The documents hold together, and say what kubectl looks for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{v2_document, v2_protobuf, v3_document, v3_index};

fn v3(group: &str, version: &str) -> Value {
    serde_json::from_slice(&v3_document(group, version).unwrap()).unwrap()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let mut documents = vec![serde_json::from_slice::<Value>(&v2_document()).unwrap()];
    documents.extend(crate::kinds::groups().into_iter().flat_map(|(group, versions)| {
        versions.into_iter().map(move |version| v3(group, version)).collect::<Vec<_>>()
    }));
    for document in documents {
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}

#[test]
fn the_index_names_a_document_for_each_group() {
    let index = v3_index();
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/coordination.k8s.io/v1"));
    for (path, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
    }
    assert_eq!(v3_document("apps", "v1"), None);
}

#[test]
fn apply_learns_how_lists_merge_and_that_fields_are_validated() {
    let core = v3("", "v1");
    let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"), "{names:?}");
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
}

#[test]
fn connections_are_listed_with_their_options_and_without_objects() {
    let core = v3("", "v1");
    let pod = "/api/v1/namespaces/{namespace}/pods/{name}";
    let exec = &core["paths"][format!("{pod}/exec")];
    assert_eq!(exec["get"]["x-kubernetes-action"], "connect");
    assert_eq!(exec["post"]["x-kubernetes-group-version-kind"]["kind"], "PodExecOptions");
    let names: Vec<&str> =
        exec["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert!(names.contains(&"command") && names.contains(&"tty") && names.contains(&"name"), "{names:?}");
    assert!(exec["put"].is_null());
    for path in [format!("{pod}/proxy/{{path}}"), "/api/v1/nodes/{name}/proxy".to_owned()] {
        assert!(core["paths"][&path]["patch"].is_object(), "{path}");
    }
}

/// The fields of a protobuf message that have a length, by number.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        assert_eq!(key & 7, 2);
        let length = usize::try_from(varint(&mut bytes)).unwrap();
        let (content, rest) = bytes.split_at(length);
        fields.push((key >> 3, content));
        bytes = rest;
    }
    fields
}

fn one(message: &[u8], number: u64) -> &[u8] {
    fields(message).into_iter().find(|(n, _)| *n == number).unwrap().1
}

#[test]
fn the_protobuf_form_has_the_same_definitions_as_json() {
    let json: Value = serde_json::from_slice(&v2_document()).unwrap();
    let document = v2_protobuf();
    assert_eq!(one(&document, 1), b"2.0");
    let definitions = fields(one(&document, 9));
    let names: BTreeSet<&str> =
        definitions.iter().map(|(_, pair)| std::str::from_utf8(one(pair, 1)).unwrap()).collect();
    let expected: BTreeSet<&str> =
        json["definitions"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, expected);
    let (_, pair) = definitions.iter().find(|(_, pair)| one(pair, 1) == b"io.k8s.api.core.v1.Pod").unwrap();
    let pod = one(pair, 2);
    let properties: Vec<&[u8]> = fields(one(pod, 25)).into_iter().map(|(_, pair)| one(pair, 1)).collect();
    assert!(properties.contains(&b"spec".as_slice()));
    let extension = one(pod, 31);
    assert_eq!(one(extension, 1), b"x-kubernetes-group-version-kind");
    let kinds: Value = serde_json::from_slice(one(one(extension, 2), 2)).unwrap();
    assert_eq!(kinds[0]["kind"], "Pod");
}
