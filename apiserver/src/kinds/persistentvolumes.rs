//! Persistent volumes. Which claim gets which of them is [`crate::claims`]'s.

use k8s_openapi::api::core::v1::PersistentVolume;
use serde_json::{Value, json};

use super::field::{FieldError, Path};
use super::values::{as_object, child, default, default_text, entries, items, string};
use super::{
    ALL_VERBS, AdmissionError, Behaviour, Body, Cluster, Kind, NameRule, Part, Scope, Storage, Subresource,
    define, metadata, names, text,
};
use crate::table::volumes::VOLUME_COLUMNS;

const VOLUME: Body =
    Body { group: "", version: "v1", kind: "PersistentVolume", define: define::<PersistentVolume> };

pub(crate) static PERSISTENTVOLUMES: Kind = Kind {
    body: VOLUME,
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[Subresource { name: "status", body: VOLUME, verbs: &["get", "patch", "update"] }],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Volumes,
    columns: VOLUME_COLUMNS,
};

/// Holds a volume as long as it is bound.
pub(crate) const PROTECTION: &str = "kubernetes.io/pv-protection";
pub(crate) const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(crate) const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
/// Fields of a volume's spec that are no source.
const NO_SOURCES: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

#[derive(Debug)]
struct Volumes;

/// The kinds of sources that a volume has; one is right.
fn sources(spec: &Value) -> Vec<(&str, &Value)> {
    let fields = spec.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value));
    fields.filter(|(name, value)| !NO_SOURCES.contains(name) && value.is_object()).collect()
}

/// Adds a finalizer that protects an object while it is in use.
pub(super) fn protect(object: &mut Value, finalizer: &str) {
    let finalizers = metadata::of(object).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|f| f == finalizer)
    {
        finalizers.push(finalizer.into());
    }
}

/// Checks how a volume or a claim may be mounted.
pub(super) fn access_modes(spec: &Value, missing: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let path = path.child("accessModes");
    let modes = items(spec, "accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(&path, missing));
    }
    for mode in modes.iter().filter_map(Value::as_str).filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(FieldError::not_supported(&path, mode, ACCESS_MODES));
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        errors.push(FieldError::forbidden(&path, "may not use ReadWriteOncePod with other access modes"));
    }
}

/// Checks an amount of storage.
pub(super) fn storage(amount: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let size = amount.as_str().unwrap_or("").parse::<podspec::Quantity>();
    if !size.is_ok_and(|size| !size.is_zero() && !size.is_negative()) {
        errors.push(FieldError::invalid(path, amount, "must be greater than zero"));
    }
}

/// Checks the mode and the class, which volumes and claims share.
pub(super) fn mode_and_class(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mode = string(spec, "volumeMode");
    if !mode.is_empty() && !VOLUME_MODES.contains(&mode) {
        errors.push(FieldError::not_supported(&path.child("volumeMode"), mode, VOLUME_MODES));
    }
    let class = string(spec, "storageClassName");
    if !class.is_empty() {
        let path = path.child("storageClassName");
        errors.extend(names::subdomain(class).iter().map(|p| FieldError::invalid(&path, class, p)));
    }
}

impl Behaviour for Volumes {
    fn prepare_create(&self, volume: &mut Value) {
        as_object(volume).insert("status".to_owned(), json!({ "phase": "Pending" }));
    }

    fn defaults(&self, volume: &mut Value) {
        let spec = child(volume, "spec");
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_text(spec, "volumeMode", "Filesystem");
        if let Some(Value::Object(path)) = spec.get_mut("hostPath") {
            default(path, "type", "");
        }
        // Upstream's defaults of a reference; the claim is looked up by namespace and name.
        if let Some(Value::Object(claim)) = spec.get_mut("claimRef") {
            default_text(claim, "kind", "PersistentVolumeClaim");
            default_text(claim, "apiVersion", "v1");
        }
    }

    fn admit_create(&self, volume: &mut Value, _cluster: &dyn Cluster) -> Result<(), AdmissionError> {
        protect(volume, PROTECTION);
        Ok(())
    }

    fn validate(&self, volume: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::new("spec");
        let spec = volume.get("spec").unwrap_or(&Value::Null);
        access_modes(spec, "", &path, errors);
        capacity(spec, &path.child("capacity"), errors);
        mode_and_class(spec, &path, errors);
        let policy = string(spec, "persistentVolumeReclaimPolicy");
        let policy_path = path.child("persistentVolumeReclaimPolicy");
        if !RECLAIM_POLICIES.contains(&policy) {
            errors.push(FieldError::not_supported(&policy_path, policy, RECLAIM_POLICIES));
        }
        if policy == "Recycle" && text(spec, "/hostPath/path") == "/" {
            let detail = "may not be 'recycle' for a hostPath mount of '/'";
            errors.push(FieldError::forbidden(&policy_path, detail));
        }
        match sources(spec).as_slice() {
            [] => errors.push(FieldError::required(&path, "must specify a volume type")),
            [(kind, source)] => self::source(kind, source, &path.child(kind), errors),
            [_, (second, _), ..] => {
                let detail = "may not specify more than 1 volume type";
                errors.push(FieldError::forbidden(&path.child(second), detail));
            }
        }
        affinity(spec, &path.child("nodeAffinity"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part, errors: &mut Vec<FieldError>) {
        if part != Part::Main {
            return;
        }
        self.validate(new, errors);
        let spec = |volume: &Value| volume.get("spec").cloned().unwrap_or_default();
        let (new, old) = (spec(new), spec(old));
        let path = Path::new("spec");
        if sources(&new) != sources(&old) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.push(FieldError::forbidden(&path.child("persistentvolumesource"), detail));
        }
        for field in ["volumeMode", "nodeAffinity"] {
            let (before, after) = (old.get(field), new.get(field));
            if before.is_some() && before != after {
                let path = path.child(field);
                errors.push(FieldError::invalid(&path, after.unwrap_or(&Value::Null), "field is immutable"));
            }
        }
    }
}

fn capacity(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut kinds = entries(spec, "capacity").map(|(kind, _)| kind.as_str());
    match (kinds.next(), kinds.next()) {
        (None, _) => errors.push(FieldError::required(path, "")),
        (Some("storage"), None) => {
            storage(&spec["capacity"]["storage"], &path.key("storage"), errors);
        }
        (Some(kind), _) => errors.push(FieldError::not_supported(path, kind, &["storage"])),
    }
}

fn source(kind: &str, source: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let needed: &[&str] = match kind {
        "hostPath" | "local" => &["path"],
        "nfs" => &["server", "path"],
        "csi" => &["driver", "volumeHandle"],
        _ => &[],
    };
    for field in needed.iter().filter(|field| string(source, field).is_empty()) {
        errors.push(FieldError::required(&path.child(field), ""));
    }
    if matches!(kind, "hostPath" | "local") && string(source, "path").split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(
            &path.child("path"),
            string(source, "path"),
            "must not contain '..'",
        ));
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(affinity) = spec.get("nodeAffinity").filter(|a| a.is_object()) else {
        if spec.get("local").is_some_and(Value::is_object) {
            errors.push(FieldError::required(path, "Local volume requires node affinity"));
        }
        return;
    };
    let path = path.child("required");
    let Some(required) = affinity.get("required").filter(|r| r.is_object()) else {
        errors.push(FieldError::required(&path, "must specify required node constraints"));
        return;
    };
    if items(required, "nodeSelectorTerms").is_empty() {
        let detail = "must have at least one node selector term";
        errors.push(FieldError::required(&path.child("nodeSelectorTerms"), detail));
    }
}

#[cfg(test)]
mod tests;
