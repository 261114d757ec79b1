//! The smallest volume that fits, or the one that was promised.

use serde_json::json;

use super::*;

fn volume(name: &str, size: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut volume = json!({
        "metadata": { "name": name },
        "spec": { "capacity": { "storage": size }, "accessModes": ["ReadWriteOnce"], "storageClassName": "s" },
        "status": { "phase": "Available" },
    });
    change(&mut volume);
    volume
}

fn claim(change: impl FnOnce(&mut Value)) -> Value {
    let mut claim = json!({
        "metadata": { "name": "c", "namespace": "x", "uid": "1" },
        "spec": {
            "resources": { "requests": { "storage": "1Gi" } }, "accessModes": ["ReadWriteOnce"], "storageClassName": "s",
        },
    });
    change(&mut claim);
    claim
}

fn found(claim: &Value, volumes: &[Value], waits: bool) -> String {
    let volumes: Vec<&Value> = volumes.iter().collect();
    find(claim, &volumes, waits).map_or("none", |v| text(v, "/metadata/name")).to_owned()
}

#[test]
fn the_smallest_volume_that_fits_is_taken() {
    let volumes =
        [volume("small", "512Mi", |_| ()), volume("large", "4Gi", |_| ()), volume("right", "1025Mi", |_| ())];
    assert_eq!(found(&claim(|_| ()), &volumes, false), "right");
    assert_eq!(
        found(&claim(|c| c["spec"]["resources"]["requests"]["storage"] = "5Gi".into()), &volumes, false),
        "none"
    );
    let modes = json!(["ReadWriteOnce", "ReadOnlyMany"]);
    let volumes =
        [volume("versatile", "1Gi", |v| v["spec"]["accessModes"] = modes), volume("plain", "4Gi", |_| ())];
    assert_eq!(found(&claim(|_| ()), &volumes, false), "plain", "what it does not need is left to others");
}

#[test]
fn class_mode_access_and_labels_have_to_fit() {
    let one = |change: fn(&mut Value)| [volume("v", "1Gi", change)];
    let fits = |volumes: &[Value], change: fn(&mut Value)| found(&claim(change), volumes, false) == "v";
    assert!(fits(&one(|_| ()), |_| ()));
    assert!(!fits(&one(|v| v["spec"]["storageClassName"] = "other".into()), |_| ()));
    assert!(!fits(&one(|v| v["spec"]["volumeMode"] = "Block".into()), |_| ()));
    assert!(!fits(&one(|v| v["status"]["phase"] = "Released".into()), |_| ()));
    assert!(!fits(&one(|v| v["metadata"]["deletionTimestamp"] = "now".into()), |_| ()));
    assert!(!fits(&one(|_| ()), |c| c["spec"]["accessModes"] = json!(["ReadWriteMany"])));
    let wants_ssd = |c: &mut Value| c["spec"]["selector"] = json!({ "matchLabels": { "disk": "ssd" } });
    assert!(!fits(&one(|_| ()), wants_ssd));
    assert!(fits(&one(|v| v["metadata"]["labels"] = json!({ "disk": "ssd" })), wants_ssd));
    let annotated = |v: &mut Value| {
        v["spec"]["storageClassName"] = Value::Null;
        v["metadata"]["annotations"] = json!({ "volume.beta.kubernetes.io/storage-class": "s" });
    };
    assert!(fits(&one(annotated), |_| ()));
}

#[test]
fn a_promise_comes_first_and_is_for_nobody_else() {
    let promised = |name: &str, uid: &str| {
        volume("promised", "8Gi", |v| {
            v["spec"]["claimRef"] = json!({ "namespace": "x", "name": name, "uid": uid })
        })
    };
    let plain = volume("plain", "1Gi", |_| ());
    assert_eq!(found(&claim(|_| ()), &[plain.clone(), promised("c", "")], false), "promised");
    assert_eq!(
        found(&claim(|_| ()), &[plain.clone(), promised("c", "1")], true),
        "promised",
        "also while it waits"
    );
    assert_eq!(found(&claim(|_| ()), &[promised("c", "2")], false), "none");
    assert_eq!(found(&claim(|_| ()), &[promised("d", "")], false), "none");
    assert_eq!(found(&claim(|_| ()), &[plain], true), "none", "the scheduler chooses");
}

#[test]
fn what_is_wrong_with_a_volume_that_was_asked_for_is_said() {
    let said = |change: fn(&mut Value)| objection(&volume("v", "1Gi", change), &claim(|_| ()));
    assert_eq!(said(|_| ()), None);
    assert_eq!(said(|v| v["spec"]["capacity"]["storage"] = "1Mi".into()), Some("requested PV is too small"));
    assert_eq!(said(|v| v["spec"]["storageClassName"] = "t".into()), Some("storageClassName does not match"));
    assert_eq!(said(|v| v["spec"]["volumeMode"] = "Block".into()), Some("incompatible volumeMode"));
    assert_eq!(said(|v| v["spec"]["accessModes"] = json!(["ReadOnlyMany"])), Some("incompatible accessMode"));
}
