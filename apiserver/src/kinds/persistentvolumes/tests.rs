//! What makes a volume wrong.

use serde_json::{Value, json};

use super::PERSISTENTVOLUMES;
use crate::kinds::Part;

fn volume(change: impl FnOnce(&mut Value)) -> Value {
    let mut volume = json!({
        "metadata": { "name": "v" },
        "spec": {
            "capacity": { "storage": "1Gi" },
            "accessModes": ["ReadWriteOnce"],
            "hostPath": { "path": "/data" },
        },
    });
    change(&mut volume);
    PERSISTENTVOLUMES.check(&mut volume).unwrap();
    PERSISTENTVOLUMES.defaults(&mut volume);
    volume
}

fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
    PERSISTENTVOLUMES.validate_create(&volume(change)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_plain_volume_gets_defaults_and_is_valid() {
    let volume = volume(|_| ());
    assert!(PERSISTENTVOLUMES.validate_create(&volume).is_empty());
    let spec = &volume["spec"];
    assert_eq!(
        (&spec["persistentVolumeReclaimPolicy"], &spec["volumeMode"]),
        (&json!("Retain"), &json!("Filesystem"))
    );
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    let cases: [(&str, Value, &str); 8] = [
        ("accessModes", json!([]), "spec.accessModes: Required value"),
        ("accessModes", json!(["Sometimes"]), "spec.accessModes: Unsupported value: \"Sometimes\""),
        ("accessModes", json!(["ReadWriteOncePod", "ReadWriteOnce"]), "may not use ReadWriteOncePod"),
        ("capacity", json!({}), "spec.capacity: Required value"),
        ("capacity", json!({ "storage": "0" }), "must be greater than zero"),
        ("hostPath", Value::Null, "spec: Required value: must specify a volume type"),
        ("nfs", json!({ "server": "s", "path": "/" }), "may not specify more than 1 volume type"),
        (
            "persistentVolumeReclaimPolicy",
            json!("Keep"),
            "supported values: \"Delete\", \"Recycle\", \"Retain\"",
        ),
    ];
    for (field, value, words) in cases {
        let told = wrong(|v| v["spec"][field] = value.clone());
        assert!(told.iter().any(|t| t.contains(words)), "{field} {value}: {told:?}");
    }
    let local = wrong(
        |v| v["spec"] = json!({ "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "local": { "path": "/d" } }),
    );
    assert_eq!(local, ["spec.nodeAffinity: Required value: Local volume requires node affinity"]);
}

#[test]
fn where_the_data_is_does_not_change() {
    let old = volume(|_| ());
    let told = |change: fn(&mut Value)| -> Vec<String> {
        let errors = PERSISTENTVOLUMES.validate_update(&volume(change), &old, Part::Main);
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        told(|v| v["spec"]["claimRef"] = json!({ "namespace": "x", "name": "c" })),
        Vec::<String>::new()
    );
    let moved = told(|v| v["spec"]["hostPath"]["path"] = "/other".into());
    assert!(moved[0].contains("spec.persistentvolumesource is immutable after creation"), "{moved:?}");
    let turned = told(|v| v["spec"]["volumeMode"] = "Block".into());
    assert_eq!(turned, ["spec.volumeMode: Invalid value: \"Block\": field is immutable"]);
}
