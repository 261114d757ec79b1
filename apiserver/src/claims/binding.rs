//! What is to be written about a claim or a volume, by what there is. Pure; the rules and words are upstream's.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::matching::{find, is_for, objection};
use crate::api::timestamp;
use crate::kinds::persistentvolumeclaims::class_of;
use crate::kinds::values::{child, child_of, string};
use crate::kinds::{metadata, text};

/// The claim was bound once.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The controller chose the other one, not a person.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made the volume, and deletes it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The node of the first consumer.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who is to make a volume for the claim.
const PROVISIONERS: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// For classes whose volumes are made by people.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What is to be told about an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is to be written for a claim; the volume first.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) volume: Option<Value>,
    pub(super) claim: Option<Value>,
    pub(super) event: Option<Event>,
}

fn normal(reason: &'static str, message: impl Into<String>) -> Option<Event> {
    Some(Event { warning: false, reason, message: message.into() })
}

fn warning(reason: &'static str, message: impl Into<String>) -> Option<Event> {
    Some(Event { warning: true, reason, message: message.into() })
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

fn annotate(object: &mut Value, key: &str, value: &str) {
    child_of(metadata::of(object), "annotations").insert(key.to_owned(), value.into());
}

/// The changed object, if it is one.
fn changed(before: &Value, after: Value) -> Option<Value> {
    (*before != after).then_some(after)
}

/// What becomes of a claim.
pub(super) fn claim(claim: &Value, volumes: &[&Value], classes: &[Value], now: Timestamp) -> Outcome {
    let wanted = text(claim, "/spec/volumeName");
    let named = volumes.iter().copied().find(|volume| text(volume, "/metadata/name") == wanted);
    if annotation(claim, BIND_COMPLETED).is_some() {
        return bound_before(claim, wanted, named, now);
    }
    if !text(claim, "/metadata/deletionTimestamp").is_empty() {
        return Outcome::default();
    }
    if wanted.is_empty() {
        return match find(claim, volumes, waits(claim, classes)) {
            Some(volume) => bind(volume, claim, now),
            None => pending(claim, classes),
        };
    }
    let Some(volume) = named else { return still_pending(claim, None) };
    if is_for(volume, claim) {
        return bind(volume, claim, now);
    }
    if volume.pointer("/spec/claimRef").is_some_and(Value::is_object) {
        let message = format!("volume \"{wanted}\" already bound to a different claim.");
        return still_pending(claim, warning("FailedBinding", message));
    }
    match objection(volume, claim) {
        Some(why) => {
            let message = format!("Cannot bind to requested volume \"{wanted}\": {why}");
            still_pending(claim, warning("VolumeMismatch", message))
        }
        None => bind(volume, claim, now),
    }
}

/// A claim that was bound keeps its volume, or has lost it.
fn bound_before(claim: &Value, wanted: &str, volume: Option<&Value>, now: Timestamp) -> Outcome {
    let lost = |reason, message| {
        let event = if text(claim, "/status/phase") == "Lost" { None } else { warning(reason, message) };
        Outcome { event, ..with_status(claim, json!({ "phase": "Lost" })) }
    };
    if wanted.is_empty() {
        return lost(
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        );
    }
    let Some(volume) = volume else {
        return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    let taken = volume.pointer("/spec/claimRef").is_some_and(Value::is_object);
    if taken && text(volume, "/spec/claimRef/uid") != text(claim, "/metadata/uid") {
        let message = "Two claims are bound to the same volume, this one is bound incorrectly";
        return lost("ClaimMisbound", message);
    }
    bind(volume, claim, now)
}

/// Whether a claim is bound only when a pod that uses it has a node.
fn waits(claim: &Value, classes: &[Value]) -> bool {
    annotation(claim, SELECTED_NODE).is_none()
        && class(claim, classes).is_some_and(|c| string(c, "volumeBindingMode") == "WaitForFirstConsumer")
}

fn class<'a>(claim: &Value, classes: &'a [Value]) -> Option<&'a Value> {
    let name = class_of(claim).filter(|name| !name.is_empty())?;
    classes.iter().find(|class| text(class, "/metadata/name") == name)
}

/// A claim for which there is no volume.
fn pending(claim: &Value, classes: &[Value]) -> Outcome {
    let name = class_of(claim).unwrap_or("");
    if waits(claim, classes) {
        let message = "waiting for first consumer to be created before binding";
        return still_pending(claim, normal("WaitForFirstConsumer", message));
    }
    if name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return still_pending(claim, normal("FailedBinding", message));
    }
    let Some(class) = class(claim, classes) else {
        let message = format!("storageclass.storage.k8s.io \"{name}\" not found");
        return still_pending(claim, warning("ProvisioningFailed", message));
    };
    let provisioner = string(class, "provisioner");
    if provisioner == NO_PROVISIONER {
        let message = format!("no volume plugin matched name: {provisioner}");
        return still_pending(claim, warning("ProvisioningFailed", message));
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator."
    );
    let mut asked = with_status(claim, json!({ "phase": "Pending" })).claim.unwrap_or_else(|| claim.clone());
    for key in PROVISIONERS {
        annotate(&mut asked, key, provisioner);
    }
    let event = normal("ExternalProvisioning", message);
    Outcome { claim: changed(claim, asked), event, volume: None }
}

fn still_pending(claim: &Value, event: Option<Event>) -> Outcome {
    Outcome { event, ..with_status(claim, json!({ "phase": "Pending" })) }
}

/// The claim with this in its status; conditions and the like stay.
fn with_status(claim: &Value, fields: Value) -> Outcome {
    let mut after = claim.clone();
    let status = child(&mut after, "status");
    for field in ["phase", "accessModes", "capacity"] {
        match fields.get(field) {
            Some(value) => status.insert(field.to_owned(), value.clone()),
            None => status.remove(field),
        };
    }
    Outcome { claim: changed(claim, after), ..Outcome::default() }
}

/// Has a volume and a claim name each other.
fn bind(volume: &Value, claim: &Value, now: Timestamp) -> Outcome {
    let (name, uid) = (text(volume, "/metadata/name"), text(claim, "/metadata/uid"));
    let mut bound_volume = volume.clone();
    let reference = volume.pointer("/spec/claimRef").filter(|r| r.is_object());
    if reference.is_none_or(|r| string(r, "uid") != uid) {
        if reference.is_none() {
            annotate(&mut bound_volume, BOUND_BY_CONTROLLER, "yes");
        }
        let field = |field: &str| text(claim, &format!("/metadata/{field}")).to_owned();
        let reference = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": field("namespace"),
            "name": field("name"),
            "uid": uid,
            "resourceVersion": field("resourceVersion"),
        });
        child(&mut bound_volume, "spec").insert("claimRef".to_owned(), reference);
    }
    set_phase(&mut bound_volume, "Bound", "", now);
    let spec = |field: &str| volume.pointer("/spec").and_then(|s| s.get(field)).cloned().unwrap_or_default();
    let status =
        json!({ "phase": "Bound", "accessModes": spec("accessModes"), "capacity": spec("capacity") });
    let mut bound_claim = with_status(claim, status).claim.unwrap_or_else(|| claim.clone());
    if text(claim, "/spec/volumeName") != name {
        child(&mut bound_claim, "spec").insert("volumeName".to_owned(), name.into());
        annotate(&mut bound_claim, BOUND_BY_CONTROLLER, "yes");
    }
    annotate(&mut bound_claim, BIND_COMPLETED, "yes");
    Outcome { volume: changed(volume, bound_volume), claim: changed(claim, bound_claim), event: None }
}

fn set_phase(volume: &mut Value, phase: &str, message: &str, now: Timestamp) {
    let before = text(volume, "/status/phase") != phase;
    let status = child(volume, "status");
    if before {
        status.insert("phase".to_owned(), phase.into());
        status.insert("lastPhaseTransitionTime".to_owned(), timestamp(now).into());
    }
    if message.is_empty() {
        status.remove("message");
    } else {
        status.insert("message".to_owned(), message.into());
    }
}

/// What becomes of a volume.
pub(super) fn volume(volume: &Value, claims: &[Value], now: Timestamp) -> (Option<Value>, Option<Event>) {
    let mut after = volume.clone();
    let mut event = None;
    let reference = volume.pointer("/spec/claimRef").filter(|r| r.is_object());
    let promised = reference.is_none_or(|r| string(r, "uid").is_empty());
    if promised {
        set_phase(&mut after, "Available", "", now);
        return (changed(volume, after), None);
    }
    let name = text(volume, "/metadata/name");
    let claim = claims.iter().find(|claim| is_for(volume, claim));
    match claim.map(|claim| text(claim, "/spec/volumeName")) {
        None => event = release(&mut after, now),
        // The claim's turn will finish it.
        Some("") => {}
        Some(bound) if bound == name => set_phase(&mut after, "Bound", "", now),
        // Its claim has another volume.
        Some(_) => unbind(&mut after, now),
    }
    (changed(volume, after), event)
}

/// A volume whose claim is gone.
fn release(volume: &mut Value, now: Timestamp) -> Option<Event> {
    if !matches!(text(volume, "/status/phase"), "Released" | "Failed") {
        set_phase(volume, "Released", "", now);
    }
    let name = text(volume, "/metadata/name").to_owned();
    match text(volume, "/spec/persistentVolumeReclaimPolicy") {
        "Delete" if annotation(volume, PROVISIONED_BY).is_none() => {
            let message = format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
            );
            set_phase(volume, "Failed", &message, now);
            warning("VolumeFailedDelete", message)
        }
        "Recycle" => {
            let message = "No recycler plugin found for the volume!";
            set_phase(volume, "Failed", message, now);
            warning("VolumeFailedRecycle", message)
        }
        _ => None,
    }
}

/// Takes a volume back from a claim that has another: whom a person has promised it to keeps the promise.
fn unbind(volume: &mut Value, now: Timestamp) {
    if annotation(volume, BOUND_BY_CONTROLLER).is_some() {
        child(volume, "spec").remove("claimRef");
        child_of(metadata::of(volume), "annotations").remove(BOUND_BY_CONTROLLER);
    } else {
        child_of(child(volume, "spec"), "claimRef").remove("uid");
    }
    set_phase(volume, "Available", "", now);
}

#[cfg(test)]
mod tests;
