//! What is written about claims and volumes.

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn volume(change: impl FnOnce(&mut Value)) -> Value {
    let mut volume = json!({
        "metadata": { "name": "v" },
        "spec": { "capacity": { "storage": "2Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "s" },
        "status": { "phase": "Available" },
    });
    change(&mut volume);
    volume
}

fn claim_with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claim = json!({
        "metadata": { "name": "c", "namespace": "x", "uid": "1" },
        "spec": {
            "resources": { "requests": { "storage": "1Gi" } }, "accessModes": ["ReadWriteOnce"], "storageClassName": "s",
        },
        "status": { "phase": "Pending" },
    });
    change(&mut claim);
    claim
}

fn classes(binding: &str, provisioner: &str) -> [Value; 1] {
    [json!({ "metadata": { "name": "s" }, "volumeBindingMode": binding, "provisioner": provisioner })]
}

/// Goes on until nothing more is to be written.
fn settled(mut claim: Value, mut volume: Value) -> (Value, Value) {
    for _ in 0..4 {
        let outcome = super::claim(&claim, &[&volume], &[], now());
        volume = outcome.volume.unwrap_or(volume);
        claim = outcome.claim.unwrap_or(claim);
        volume = super::volume(&volume, std::slice::from_ref(&claim), now()).0.unwrap_or(volume);
    }
    let again = super::claim(&claim, &[&volume], &[], now());
    assert_eq!((again.volume, again.claim), (None, None), "it settles");
    assert_eq!(super::volume(&volume, std::slice::from_ref(&claim), now()).0, None);
    (claim, volume)
}

#[test]
fn a_claim_and_its_volume_name_each_other() {
    let (claim, volume) = settled(claim_with(|_| ()), volume(|_| ()));
    assert_eq!(claim["spec"]["volumeName"], "v");
    let status =
        json!({ "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "2Gi" } });
    assert_eq!(claim["status"], status);
    assert_eq!(
        claim["metadata"]["annotations"],
        json!({ BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes" })
    );
    assert_eq!(
        (&volume["spec"]["claimRef"]["uid"], &volume["status"]["phase"]),
        (&json!("1"), &json!("Bound"))
    );
    assert_eq!(volume["metadata"]["annotations"], json!({ BOUND_BY_CONTROLLER: "yes" }));
    assert_eq!(volume["status"]["lastPhaseTransitionTime"], "2026-01-01T00:00:00Z");
}

#[test]
fn a_promised_volume_keeps_the_promise_and_gets_the_uid() {
    let reference = json!({ "namespace": "x", "name": "c" });
    let (claim, volume) = settled(claim_with(|_| ()), volume(|v| v["spec"]["claimRef"] = reference));
    assert_eq!(
        (&claim["status"]["phase"], &volume["spec"]["claimRef"]["uid"]),
        (&json!("Bound"), &json!("1"))
    );
    assert_eq!(volume["metadata"].get("annotations"), None, "a person chose it");
}

#[test]
fn a_claim_that_names_its_volume_gets_it_or_hears_why_not() {
    let wanted = || claim_with(|c| c["spec"]["volumeName"] = "v".into());
    let (bound, _) = settled(wanted(), volume(|_| ()));
    assert_eq!(bound["metadata"]["annotations"], json!({ BIND_COMPLETED: "yes" }));
    let said = |volume: Value| claim(&wanted(), &[&volume], &[], now()).event.unwrap().message;
    let small = volume(|v| v["spec"]["capacity"]["storage"] = "1Mi".into());
    assert_eq!(said(small), "Cannot bind to requested volume \"v\": requested PV is too small");
    let taken = volume(|v| v["spec"]["claimRef"] = json!({ "namespace": "x", "name": "d" }));
    assert_eq!(said(taken), "volume \"v\" already bound to a different claim.");
    assert_eq!(claim(&wanted(), &[], &[], now()), Outcome::default(), "it may come yet");
}

#[test]
fn a_claim_without_a_volume_says_what_it_waits_for() {
    let said = |change: fn(&mut Value), classes: &[Value]| {
        let outcome = claim(&claim_with(change), &[], classes, now());
        let event = outcome.event.unwrap();
        (event.reason, event.message, outcome.claim)
    };
    let (reason, message, _) = said(|c| c["spec"]["storageClassName"] = "".into(), &[]);
    assert_eq!(reason, "FailedBinding");
    assert_eq!(message, "no persistent volumes available for this claim and no storage class is set");
    let (reason, message, _) = said(|_| (), &[]);
    assert_eq!(
        (reason, message.as_str()),
        ("ProvisioningFailed", "storageclass.storage.k8s.io \"s\" not found")
    );
    let (reason, message, changed) =
        said(|_| (), &classes("WaitForFirstConsumer", "kubernetes.io/no-provisioner"));
    assert_eq!(reason, "WaitForFirstConsumer");
    assert_eq!(message, "waiting for first consumer to be created before binding");
    assert_eq!(changed, None);
    let (reason, _, changed) = said(|_| (), &classes("Immediate", "example.com/disks"));
    assert_eq!(reason, "ExternalProvisioning");
    let annotations = changed.unwrap()["metadata"]["annotations"].clone();
    assert_eq!(annotations["volume.kubernetes.io/storage-provisioner"], "example.com/disks");
}

#[test]
fn where_the_consumer_is_waited_for_only_the_scheduler_chooses() {
    let (plain, lazy) = (volume(|_| ()), classes("WaitForFirstConsumer", "kubernetes.io/no-provisioner"));
    assert_eq!(claim(&claim_with(|_| ()), &[&plain], &lazy, now()).volume, None);
    let chosen = volume(|v| v["spec"]["claimRef"] = json!({ "namespace": "x", "name": "c", "uid": "1" }));
    let outcome = claim(&claim_with(|_| ()), &[&chosen], &lazy, now());
    assert_eq!(outcome.claim.unwrap()["spec"]["volumeName"], "v");
}

#[test]
fn a_volume_whose_claim_goes_is_released_and_its_policy_carried_out() {
    let (_, bound) = settled(claim_with(|_| ()), volume(|_| ()));
    let after = |policy: &str, change: fn(&mut Value)| {
        let mut volume = bound.clone();
        volume["spec"]["persistentVolumeReclaimPolicy"] = policy.into();
        change(&mut volume);
        let (changed, event) = super::volume(&volume, &[], now());
        (changed.unwrap()["status"]["phase"].clone(), event.map(|e| e.reason))
    };
    assert_eq!(after("Retain", |_| ()), (json!("Released"), None));
    assert_eq!(after("Delete", |_| ()), (json!("Failed"), Some("VolumeFailedDelete")));
    let provisioned = |v: &mut Value| annotate(v, PROVISIONED_BY, "example.com/disks");
    assert_eq!(after("Delete", provisioned), (json!("Released"), None), "whoever made it deletes it");
    assert_eq!(after("Recycle", |_| ()), (json!("Failed"), Some("VolumeFailedRecycle")));
    // Another claim of the same name is another claim.
    let other = claim_with(|c| c["metadata"]["uid"] = "2".into());
    let (changed, _) = super::volume(&bound, &[other], now());
    assert_eq!(changed.unwrap()["status"]["phase"], "Released");
}

#[test]
fn a_volume_is_taken_back_from_a_claim_that_has_another() {
    let elsewhere = claim_with(|c| c["spec"]["volumeName"] = "w".into());
    let reference = json!({ "namespace": "x", "name": "c", "uid": "1" });
    let by_us = volume(|v| {
        v["spec"]["claimRef"] = reference.clone();
        annotate(v, BOUND_BY_CONTROLLER, "yes");
    });
    let claims = [elsewhere];
    let taken = super::volume(&by_us, &claims, now()).0.unwrap();
    assert_eq!((taken["spec"].get("claimRef"), &taken["status"]["phase"]), (None, &json!("Available")));
    let promised = volume(|v| v["spec"]["claimRef"] = reference.clone());
    let kept = super::volume(&promised, &claims, now()).0.unwrap_or(promised);
    assert_eq!(kept["spec"]["claimRef"], json!({ "namespace": "x", "name": "c" }));
}

#[test]
fn a_claim_that_loses_its_volume_says_so_once() {
    let (bound, volume) = settled(claim_with(|_| ()), volume(|_| ()));
    let outcome = claim(&bound, &[], &[], now());
    assert_eq!(outcome.event.unwrap().reason, "ClaimLost");
    let lost = outcome.claim.unwrap();
    assert_eq!(lost["status"], json!({ "phase": "Lost" }));
    assert_eq!(claim(&lost, &[], &[], now()), Outcome::default());
    let mut stolen = volume;
    stolen["spec"]["claimRef"]["uid"] = "2".into();
    assert_eq!(claim(&bound, &[&stolen], &[], now()).event.unwrap().reason, "ClaimMisbound");
}

#[test]
fn a_claim_that_is_on_its_way_out_gets_nothing() {
    let leaving = claim_with(|c| c["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into());
    assert_eq!(claim(&leaving, &[&volume(|_| ())], &[], now()), Outcome::default());
}
