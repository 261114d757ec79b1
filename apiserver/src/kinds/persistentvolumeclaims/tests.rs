//! What makes a claim wrong, and what of it may change.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// Two default classes, one of them newer, and one that lets volumes grow.
struct Classes;

impl Cluster for Classes {
    fn get(&self, kind: &Kind, _: &str, name: &str) -> Option<Arc<Value>> {
        self.list(kind).into_iter().find(|o| text(o, "/metadata/name") == name)
    }

    fn list(&self, _: &Kind) -> Vec<Arc<Value>> {
        let class = |name: &str, created: &str, default: bool| {
            let annotations = json!({ "storageclass.kubernetes.io/is-default-class": default.to_string() });
            let metadata = json!({ "name": name, "creationTimestamp": created, "annotations": annotations });
            Arc::new(json!({ "metadata": metadata, "allowVolumeExpansion": name == "growing" }))
        };
        vec![class("old", "2025", true), class("new", "2026", true), class("growing", "2027", false)]
    }

    fn service_range(&self) -> (Ipv4Addr, u8) {
        ([10, 96, 0, 0].into(), 16)
    }
}

fn claim(change: impl FnOnce(&mut Value)) -> Value {
    let mut claim = json!({
        "metadata": { "name": "c", "namespace": "x" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    change(&mut claim);
    PERSISTENTVOLUMECLAIMS.check(&mut claim).unwrap();
    PERSISTENTVOLUMECLAIMS.defaults(&mut claim);
    claim
}

fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
    PERSISTENTVOLUMECLAIMS.validate_create(&claim(change)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_claim_needs_a_size_and_a_mode() {
    assert_eq!(wrong(|_| ()), Vec::<String>::new());
    let told = wrong(|c| c["spec"]["accessModes"] = json!([]));
    assert_eq!(told, ["spec.accessModes: Required value: at least 1 access mode is required"]);
    assert_eq!(wrong(|c| c["spec"]["resources"] = json!({})), ["spec.resources[storage]: Required value"]);
    let told = wrong(|c| c["spec"]["resources"]["requests"]["storage"] = "-1".into());
    assert!(told[0].contains("must be greater than zero"), "{told:?}");
    let told = wrong(|c| c["spec"]["volumeMode"] = "Tape".into());
    assert!(told[0].contains("Unsupported value: \"Tape\""), "{told:?}");
}

#[test]
fn a_claim_without_a_class_gets_the_newest_default_one_and_is_protected() {
    let class = |change: fn(&mut Value)| {
        let mut claim = claim(change);
        PERSISTENTVOLUMECLAIMS.admit_create(&mut claim, &Classes).unwrap();
        assert_eq!(claim["metadata"]["finalizers"], json!([PROTECTION]));
        claim["spec"]["storageClassName"].clone()
    };
    assert_eq!(class(|_| ()), "new");
    assert_eq!(class(|c| c["spec"]["storageClassName"] = "".into()), "", "none is a choice too");
    assert_eq!(class(|c| c["metadata"]["annotations"] = json!({ CLASS_ANNOTATION: "mine" })), Value::Null);
}

#[test]
fn only_binding_and_growing_change_a_claim() {
    let told = |old: &Value, change: fn(&mut Value)| -> Vec<String> {
        let mut new = old.clone();
        change(&mut new);
        let errors = PERSISTENTVOLUMECLAIMS.validate_update(&new, old, Part::Main);
        errors.iter().map(ToString::to_string).collect()
    };
    let pending = claim(|_| ());
    assert_eq!(told(&pending, |c| c["spec"]["volumeName"] = "v".into()), Vec::<String>::new());
    let fixed = told(&pending, |c| c["spec"]["resources"]["requests"]["storage"] = "2Gi".into());
    assert!(fixed[0].contains("spec is immutable after creation except"), "{fixed:?}");
    let mut bound = claim(|c| c["spec"]["volumeName"] = "v".into());
    bound["status"] = json!({ "phase": "Bound", "capacity": { "storage": "1Gi" } });
    assert_eq!(
        told(&bound, |c| c["spec"]["resources"]["requests"]["storage"] = "2Gi".into()),
        Vec::<String>::new()
    );
    let less = told(&bound, |c| c["spec"]["resources"]["requests"]["storage"] = "1Mi".into());
    assert!(less[0].contains("field can not be less than status.capacity"), "{less:?}");
    assert!(told(&bound, |c| c["spec"]["volumeName"] = "w".into())[0].contains("immutable"));
}

#[test]
fn a_bound_claim_grows_if_its_class_lets_it() {
    let grows = |class: &str| {
        let mut old = claim(|c| c["spec"]["storageClassName"] = class.into());
        old["status"] = json!({ "phase": "Bound" });
        let mut new = old.clone();
        new["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
        PERSISTENTVOLUMECLAIMS.admit_update(&mut new, &old, &Classes).is_ok()
    };
    assert!(grows("growing"));
    assert!(!grows("old") && !grows(""));
}

#[test]
fn a_pod_uses_its_claims_and_those_of_its_ephemeral_volumes() {
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "volumes": [
        { "name": "a", "persistentVolumeClaim": { "claimName": "data" } },
        { "name": "scratch", "ephemeral": { "volumeClaimTemplate": {} } },
    ] } });
    assert!(uses(&pod, "data") && uses(&pod, "p-scratch"));
    assert!(!uses(&pod, "a") && !uses(&pod, "p-a") && !uses(&json!({}), "data"));
}
