//! What the API takes for an object, and what it says of the rest.

use serde_json::{Value, json};

use super::{Shape, Syntax, check, decode, types};
use crate::kinds::pods::PODS;
use crate::kinds::{self, leases::LEASES};

fn refused(object: Value) -> String {
    let mut object = object;
    check(&PODS.body, &mut object).unwrap_err().message(&PODS.body)
}

#[test]
fn every_kind_has_a_type_with_metadata() {
    for body in kinds::bodies() {
        let root = types().root(&body).unwrap_or_else(|| panic!("{} has no type", body.kind));
        let metadata = types().object(root).field("metadata").map(|f| f.shape.clone());
        assert!(matches!(metadata, Some(Shape::Object(_))), "{}", body.kind);
    }
}

#[test]
fn unknown_fields_are_named_with_their_path_and_kept() {
    let mut pod = json!({
        "metadata": { "name": "a", "label": {} },
        "spec": { "containers": [{ "name": "c", "foo": 1, "env": [{ "name": "x", "valueForm": {} }] }], "bar": null },
    });
    let mut complaints = check(&PODS.body, &mut pod).unwrap();
    complaints.sort();
    let expected = [
        "unknown field \"metadata.label\"",
        "unknown field \"spec.bar\"",
        "unknown field \"spec.containers[0].env[0].valueForm\"",
        "unknown field \"spec.containers[0].foo\"",
    ];
    assert_eq!(complaints, expected);
    assert_eq!(pod["spec"]["containers"][0]["foo"], 1);
    assert_eq!(pod["spec"].get("bar"), Some(&Value::Null));
    assert_eq!(
        super::strict_error(&complaints[..2]),
        "strict decoding error: unknown field \"metadata.label\", unknown field \"spec.bar\""
    );
}

#[test]
fn wrong_types_are_refused_in_the_words_of_gos_decoder() {
    let cannot = "Pod in version \"v1\" cannot be handled as a Pod: ";
    let cases = [
        (
            json!({ "spec": { "terminationGracePeriodSeconds": "x" } }),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
        ),
        (
            json!({ "spec": { "containers": [{ "name": 5 }] } }),
            "json: cannot unmarshal number into Go struct field Container.spec.containers[0].name of type string",
        ),
        (
            json!({ "spec": { "containers": {} } }),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            json!({ "metadata": { "labels": { "a": true } } }),
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels.a of type string",
        ),
        (
            json!({ "spec": { "containers": [{ "ports": [{ "containerPort": 2147483648_i64 }] }] } }),
            "json: cannot unmarshal number 2147483648 into Go struct field ContainerPort.spec.containers[0].ports[0].containerPort of type int32",
        ),
        (
            json!({ "spec": { "containers": [{ "resources": { "limits": { "cpu": "one" } } }] } }),
            "spec.containers[0].resources.limits.cpu: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({ "metadata": { "creationTimestamp": "yesterday" } }),
            "metadata.creationTimestamp: parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse it",
        ),
        (json!([]), "json: cannot unmarshal array into Go value of type v1.Pod"),
    ];
    for (object, message) in cases {
        assert_eq!(refused(object), format!("{cannot}{message}"));
    }
}

#[test]
fn another_kind_or_version_is_refused() {
    let version = refused(json!({ "apiVersion": "v2", "kind": "Pod" }));
    assert_eq!(version, "the API version in the data (v2) does not match the expected API version (v1)");
    let kind = refused(json!({ "apiVersion": "v1", "kind": "Service" }));
    assert_eq!(kind, "Service in version \"v1\" cannot be handled as a Pod: unknown conversion");
}

#[test]
fn an_object_is_normalised() {
    let mut pod = json!({
        "metadata": { "creationTimestamp": null, "name": "a", "deletionTimestamp": "2026-01-02T03:04:05.999+01:00" },
        "spec": { "containers": [{
            "name": "c",
            "command": null,
            "args": ["a", null],
            "resources": { "limits": { "cpu": 0.5, "memory": "1024Mi" }, "requests": { "cpu": 1 } },
        }] },
    });
    assert!(check(&PODS.body, &mut pod).unwrap().is_empty());
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "a", "deletionTimestamp": "2026-01-02T02:04:05Z" },
        "spec": { "containers": [{
            "name": "c",
            "args": ["a", ""],
            "resources": { "limits": { "cpu": "500m", "memory": "1Gi" }, "requests": { "cpu": "1" } },
        }] },
    });
    assert_eq!(pod, expected);
}

#[test]
fn a_lease_keeps_six_digits_of_a_second() {
    let mut lease = json!({ "spec": { "renewTime": "2026-01-02T03:04:05.5Z" } });
    check(&LEASES.body, &mut lease).unwrap();
    assert_eq!(lease["spec"]["renewTime"], "2026-01-02T03:04:05.500000Z");
}

#[test]
fn duplicate_fields_are_named_with_their_path_and_the_last_one_stands() {
    let json = br#"{"spec":{"containers":[{"image":"a","image":"b"}],"hostname":"x"},"spec":{"containers":[{"image":"c"}]}}"#;
    let decoded = decode(json, Syntax::Json).unwrap();
    assert_eq!(
        decoded.duplicates,
        ["duplicate field \"spec.containers[0].image\"", "duplicate field \"spec\""]
    );
    assert_eq!(decoded.value, json!({ "spec": { "containers": [{ "image": "c" }] } }));
    let yaml = b"metadata:\n  name: a\n  name: b\n";
    let decoded = decode(yaml, Syntax::Yaml).unwrap();
    assert_eq!(decoded.duplicates, ["duplicate field \"metadata.name\""]);
    assert_eq!(decoded.value["metadata"]["name"], "b");
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    for body in [&b""[..], b"{", b"{\"a\":}", b"\xff", b"{} {}"] {
        assert!(decode(body, Syntax::Json).is_err(), "{body:?}");
    }
    assert!(decode(b"a: [", Syntax::Yaml).is_err());
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert!(decode(&deep, Syntax::Json).is_err());
    assert!(decode(&deep, Syntax::Yaml).is_err());
}

#[test]
fn no_bytes_make_the_decoder_panic() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        for format in [Syntax::Json, Syntax::Yaml] {
            if let Ok(mut decoded) = decode(bytes, format) {
                let _ = check(&PODS.body, &mut decoded.value);
            }
        }
    });
}
