//! Which volume fits a claim. Pure; the rules are upstream's.

use podspec::Quantity;
use serde_json::Value;

use crate::kinds::label_selector::selects;
use crate::kinds::persistentvolumeclaims::{class_of, requested};
use crate::kinds::text;
use crate::kinds::values::{items, string};

/// The size of a volume.
fn capacity(volume: &Value) -> Option<Quantity> {
    text(volume, "/spec/capacity/storage").parse().ok()
}

fn is_large_enough(volume: &Value, claim: &Value) -> bool {
    match (capacity(volume), requested(claim)) {
        (Some(capacity), Some(requested)) => capacity >= requested,
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

fn same_mode(volume: &Value, claim: &Value) -> bool {
    let mode = |object: &Value| match text(object, "/spec/volumeMode") {
        "" => "Filesystem".to_owned(),
        mode => mode.to_owned(),
    };
    mode(volume) == mode(claim)
}

fn has_access_modes(volume: &Value, claim: &Value) -> bool {
    let modes = |object: &Value| items(object.get("spec").unwrap_or(&Value::Null), "accessModes").to_vec();
    let given = modes(volume);
    modes(claim).iter().all(|mode| given.contains(mode))
}

/// Whether a volume is a claim's, or is promised to it.
pub(super) fn is_for(volume: &Value, claim: &Value) -> bool {
    let Some(reference) = volume.pointer("/spec/claimRef").filter(|r| r.is_object()) else { return false };
    let same = |field: &str| string(reference, field) == text(claim, &format!("/metadata/{field}"));
    same("namespace") && same("name") && (string(reference, "uid").is_empty() || same("uid"))
}

/// Why a volume that a claim names is not for it; `None` if it may be.
pub(super) fn objection(volume: &Value, claim: &Value) -> Option<&'static str> {
    if !is_large_enough(volume, claim) {
        Some("requested PV is too small")
    } else if class_of(volume).unwrap_or("") != class_of(claim).unwrap_or("") {
        Some("storageClassName does not match")
    } else if !same_mode(volume, claim) {
        Some("incompatible volumeMode")
    } else if !has_access_modes(volume, claim) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

/// The volume that a claim gets: one that is promised to it, else the smallest that fits, with as few access modes as there are. One that
/// waits for its first consumer gets only what is promised.
pub(super) fn find<'a>(claim: &Value, volumes: &[&'a Value], waits: bool) -> Option<&'a Value> {
    let usable = |volume: &&&Value| {
        let reserved = volume.pointer("/spec/claimRef").is_some_and(Value::is_object);
        (!reserved || is_for(volume, claim))
            && is_large_enough(volume, claim)
            && same_mode(volume, claim)
            && text(volume, "/metadata/deletionTimestamp").is_empty()
    };
    let mut usable = volumes.iter().filter(usable).copied();
    let promised = usable.clone().find(|volume| is_for(volume, claim));
    if promised.is_some() || waits {
        return promised;
    }
    let selector = claim.pointer("/spec/selector").filter(|s| s.is_object());
    let mut fitting: Vec<&Value> = usable
        .by_ref()
        .filter(|volume| {
            text(volume, "/status/phase") == "Available"
                && class_of(volume).unwrap_or("") == class_of(claim).unwrap_or("")
                && has_access_modes(volume, claim)
                && selector.is_none_or(|selector| selects(selector, volume))
        })
        .collect();
    let modes = |volume: &Value| items(&volume["spec"], "accessModes").len();
    fitting.sort_by(|a, b| {
        modes(a)
            .cmp(&modes(b))
            .then_with(|| capacity(a).cmp(&capacity(b)))
            .then_with(|| text(a, "/metadata/name").cmp(text(b, "/metadata/name")))
    });
    fitting.first().copied()
}

#[cfg(test)]
mod tests;
