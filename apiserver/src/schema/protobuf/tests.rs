//! The protobuf form says the same as JSON.

use serde_json::json;

use super::{MAGIC, decode, numbers};
use crate::schema::types;

/// A field with a length.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
    field.extend(content);
    field
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw), bytes(3, b""), bytes(4, b"")].concat()
}

#[test]
fn an_object_reads_as_its_json() {
    let label = [bytes(1, b"app"), bytes(2, b"web")].concat();
    let metadata = [bytes(1, b"svc"), bytes(2, b""), varint(7, 0), bytes(8, b""), bytes(11, &label)].concat();
    let target = [varint(1, 1), varint(2, 0), bytes(3, b"http")].concat();
    let port = [bytes(1, b"http"), bytes(2, b"TCP"), varint(3, 80), bytes(4, &target)].concat();
    let spec = [bytes(1, &port), bytes(2, &label), bytes(3, b""), bytes(4, b"ClusterIP")].concat();
    let service = [bytes(1, &metadata), bytes(2, &spec), bytes(3, b"")].concat();
    let expected = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "svc", "generation": 0, "labels": { "app": "web" } },
        "spec": {
            "ports": [{ "name": "http", "protocol": "TCP", "port": 80, "targetPort": "http" }],
            "selector": { "app": "web" },
            "type": "ClusterIP",
        },
        "status": {},
    });
    assert_eq!(decode(&body("v1", "Service", &service)).unwrap(), expected);
}

#[test]
fn fields_of_an_inlined_message_are_the_objects_own() {
    let volume = [bytes(1, b"v"), bytes(2, &bytes(2, &bytes(1, b"Memory")))].concat();
    let quantity = [bytes(1, b"cpu"), bytes(2, &bytes(1, b"100m"))].concat();
    let container = [bytes(1, b"c"), bytes(8, &bytes(2, &quantity))].concat();
    let spec = [bytes(1, &volume), bytes(2, &container), varint(4, 0)].concat();
    let pod = decode(&body("v1", "Pod", &bytes(2, &spec))).unwrap();
    let expected = json!({
        "volumes": [{ "name": "v", "emptyDir": { "medium": "Memory" } }],
        "containers": [{ "name": "c", "resources": { "requests": { "cpu": "100m" } } }],
        "terminationGracePeriodSeconds": 0,
    });
    assert_eq!(pod["spec"], expected);
}

#[test]
fn what_is_not_whole_is_refused() {
    let whole = body("v1", "ConfigMap", &bytes(1, &bytes(1, b"m")));
    assert!(decode(&whole).is_ok());
    for end in 0..whole.len() {
        // Cut between two fields it is whole again, without what is missing.
        let cut = decode(&whole[..end]);
        assert!(
            cut.is_err() || end > whole.len() - 5 || cut.unwrap().get("metadata").is_none(),
            "cut after {end} bytes"
        );
    }
    assert!(decode(&body("v1", "Nothing", b"")).unwrap_err().to_string().contains("no type Nothing of v1"));
    assert!(decode(b"{}").is_err());
}

#[test]
fn every_field_of_every_type_has_a_number() {
    for object in types().all().filter(|o| !o.name.ends_with(".FieldsV1")) {
        let Some(places) = numbers().get(&*object.name) else { panic!("{} has no numbers", object.name) };
        let mut known: Vec<&str> = Vec::new();
        let mut todo = vec![places];
        while let Some(places) = todo.pop() {
            for place in places.values() {
                match place {
                    super::Place::Field(name) => known.push(name),
                    super::Place::Inline(name) => todo.push(&numbers()[name]),
                }
            }
        }
        for field in object.names().filter(|f| !matches!(*f, "apiVersion" | "kind") || known.contains(f)) {
            assert!(known.contains(&field), "{}.{field} has no number", object.name);
        }
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!().for_each(|input: &[u8]| {
        drop(decode(input));
        drop(decode(&[MAGIC, input].concat()));
        if let Ok(raw) = <[u8; 100]>::try_from(input.get(..100).unwrap_or_default()) {
            drop(decode(&body("v1", "Pod", &raw)));
        }
    });
}
