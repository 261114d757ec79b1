//! Which volumes pods get, and why they wait.

use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::*;

fn node(disk: &str) -> NodeInfo {
    let node = json!({ "metadata": { "name": disk, "labels": { "disk": disk } } });
    NodeInfo::of(&serde_json::from_value::<Node>(node).expect("a node"))
}

fn volume(name: &str, size: &str, disk: &str) -> VolumeInfo {
    let expression = json!({ "key": "disk", "operator": "In", "values": [disk] });
    let volume = json!({
        "metadata": { "name": name, "resourceVersion": "7" },
        "spec": {
            "capacity": { "storage": size }, "accessModes": ["ReadWriteOnce"], "storageClassName": "lazy",
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [expression] }] } },
        },
        "status": { "phase": "Available" },
    });
    VolumeInfo::of(&serde_json::from_value::<PersistentVolume>(volume).expect("a volume"))
}

fn claim(name: &str, class: &str, change: impl FnOnce(&mut Value)) -> ClaimInfo {
    let mut claim = json!({
        "metadata": { "name": name, "namespace": "ns", "uid": format!("uid-{name}") },
        "spec": {
            "resources": { "requests": { "storage": "1Gi" } }, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        },
        "status": { "phase": "Pending" },
    });
    change(&mut claim);
    ClaimInfo::of(&serde_json::from_value::<PersistentVolumeClaim>(claim).expect("a claim"))
}

fn bound(name: &str, volume: &str) -> ClaimInfo {
    claim(name, "lazy", |c| {
        c["spec"]["volumeName"] = volume.into();
        c["metadata"]["annotations"] = json!({ BIND_COMPLETED: "yes" });
    })
}

fn storage(volumes: Vec<VolumeInfo>, claims: Vec<ClaimInfo>) -> Storage {
    let mut storage = Storage::default();
    assert!(!storage.listed());
    storage.set_volumes(volumes);
    storage.set_claims(claims);
    storage.set_classes(vec![
        ClassInfo { name: "lazy".into(), waits: true },
        ClassInfo { name: "eager".into(), waits: false },
    ]);
    assert!(storage.listed());
    storage
}

fn wanted(names: &[&str]) -> Vec<Wanted> {
    names.iter().map(|name| Wanted { name: (*name).into(), ephemeral: false }).collect()
}

fn refused(storage: &Storage, names: &[&str]) -> String {
    storage.of_pod(&"ns".into(), &wanted(names)).expect_err("a reason")
}

/// The volumes that claims get on a node.
fn picked(storage: &Storage, names: &[&str], node: &NodeInfo) -> Result<Vec<String>, Objection> {
    let volumes = storage.of_pod(&"ns".into(), &wanted(names)).expect("volumes");
    Ok(volumes.on(node)?.iter().map(|pick| pick.volume.to_string()).collect())
}

#[test]
fn a_pod_waits_for_claims_that_are_not_there_or_not_bound() {
    let lost = claim("lost", "lazy", |c| {
        c["spec"]["volumeName"] = "gone".into();
        c["status"]["phase"] = "Lost".into();
    });
    let leaving =
        claim("leaving", "lazy", |c| c["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into());
    let named = claim("named", "lazy", |c| c["spec"]["volumeName"] = "v".into());
    let storage = storage(vec![], vec![claim("eager", "eager", |_| ()), lost, leaving, named]);
    assert_eq!(refused(&storage, &["none"]), "persistentvolumeclaim \"none\" not found");
    let unbound = "pod has unbound immediate PersistentVolumeClaims";
    assert_eq!(
        (refused(&storage, &["eager"]), refused(&storage, &["named"])),
        (unbound.to_owned(), unbound.to_owned())
    );
    assert_eq!(refused(&storage, &["leaving"]), "persistentvolumeclaim \"leaving\" is being deleted");
    assert_eq!(
        refused(&storage, &["lost"]),
        "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"gone\""
    );
    let own = [Wanted { name: "p-scratch".into(), ephemeral: true }];
    let said = storage.of_pod(&"ns".into(), &own).expect_err("a reason");
    assert_eq!(
        said,
        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-scratch\""
    );
}

#[test]
fn a_bound_claim_ties_the_pod_to_its_volumes_nodes() {
    let storage = storage(vec![volume("v", "1Gi", "ssd")], vec![bound("c", "v"), bound("d", "gone")]);
    assert_eq!(picked(&storage, &["c"], &node("ssd")), Ok(vec![]));
    assert_eq!(picked(&storage, &["c"], &node("hdd")), Err(Objection::WrongNode));
    assert_eq!(picked(&storage, &["d"], &node("ssd")), Err(Objection::NoVolume));
}

#[test]
fn a_claim_that_waits_gets_the_smallest_volume_of_the_node() {
    let volumes =
        vec![volume("large", "9Gi", "ssd"), volume("right", "2Gi", "ssd"), volume("small", "1Mi", "ssd")];
    let mut storage = storage(
        volumes,
        vec![claim("c", "lazy", |_| ()), claim("d", "lazy", |_| ()), claim("e", "lazy", |_| ())],
    );
    assert_eq!(picked(&storage, &["c"], &node("ssd")), Ok(vec!["right".to_owned()]));
    assert_eq!(picked(&storage, &["c", "d"], &node("ssd")), Ok(vec!["right".to_owned(), "large".to_owned()]));
    assert_eq!(picked(&storage, &["c", "d", "e"], &node("ssd")), Err(Objection::NothingToBind));
    assert_eq!(picked(&storage, &["c"], &node("hdd")), Err(Objection::NothingToBind));
    // What another pod is getting is not to be had.
    let picks =
        storage.of_pod(&"ns".into(), &wanted(&["d"])).expect("volumes").on(&node("ssd")).expect("a volume");
    storage.pick(&"other".into(), &picks);
    assert_eq!(picked(&storage, &["c"], &node("ssd")), Ok(vec!["large".to_owned()]));
    storage.release(&"other".into());
    assert_eq!(picked(&storage, &["c"], &node("ssd")), Ok(vec!["right".to_owned()]));
}

#[test]
fn class_labels_and_use_of_a_volume_have_to_fit() {
    let one = |change: fn(&mut VolumeInfo)| {
        let mut volume = volume("v", "2Gi", "ssd");
        change(&mut volume);
        volume
    };
    let fits = |volume: VolumeInfo, change: fn(&mut Value)| {
        let storage = storage(vec![volume], vec![claim("c", "lazy", change)]);
        picked(&storage, &["c"], &node("ssd")).is_ok()
    };
    assert!(fits(one(|_| ()), |_| ()));
    assert!(!fits(one(|v| v.available = false), |_| ()));
    assert!(!fits(one(|v| v.class = "other".to_owned()), |_| ()));
    assert!(!fits(one(|v| v.kind = "Block".to_owned()), |_| ()));
    assert!(!fits(one(|_| ()), |c| c["spec"]["accessModes"] = json!(["ReadWriteMany"])));
    let labelled = |c: &mut Value| c["spec"]["selector"] = json!({ "matchLabels": { "tier": "gold" } });
    assert!(!fits(one(|_| ()), labelled));
    assert!(fits(one(|v| drop(v.labels.insert("tier".to_owned(), "gold".to_owned()))), labelled));
}
