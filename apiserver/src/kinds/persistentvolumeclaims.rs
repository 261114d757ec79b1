//! Claims to persistent volumes. Which volume they get is [`crate::claims`]'s.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use podspec::Quantity;
use serde_json::{Value, json};

use super::field::{FieldError, Path};
use super::persistentvolumes::{access_modes, mode_and_class, protect, storage};
use super::values::{as_object, child, default_text, is_true, string};
use super::{
    ALL_VERBS, AdmissionError, Behaviour, Body, Cluster, Kind, NameRule, Part, Scope, Storage, Subresource,
    define, label_selector, storageclasses, text,
};
use crate::table::volumes::CLAIM_COLUMNS;

const CLAIM: Body =
    Body { group: "", version: "v1", kind: "PersistentVolumeClaim", define: define::<PersistentVolumeClaim> };

pub(crate) static PERSISTENTVOLUMECLAIMS: Kind = Kind {
    body: CLAIM,
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[Subresource { name: "status", body: CLAIM, verbs: &["get", "patch", "update"] }],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Claims,
    columns: CLAIM_COLUMNS,
};

/// Holds a claim as long as a pod on a node uses it.
pub(crate) const PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Where older clients write the class.
pub(crate) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const REQUEST: &str = "/spec/resources/requests/storage";

/// The class of a claim or of a volume; empty for none, `None` where nothing is said about it.
pub(crate) fn class_of(object: &Value) -> Option<&str> {
    let annotated = object.pointer("/metadata/annotations").and_then(|a| a.get(CLASS_ANNOTATION));
    annotated.or_else(|| object.pointer("/spec/storageClassName")).and_then(Value::as_str)
}

#[derive(Debug)]
struct Claims;

impl Behaviour for Claims {
    fn prepare_create(&self, claim: &mut Value) {
        as_object(claim).insert("status".to_owned(), json!({ "phase": "Pending" }));
    }

    fn defaults(&self, claim: &mut Value) {
        default_text(child(claim, "spec"), "volumeMode", "Filesystem");
    }

    /// A claim that says nothing about a class gets the default one, if there is one.
    fn admit_create(&self, claim: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
        protect(claim, PROTECTION);
        if class_of(claim).is_none()
            && let Some(class) = storageclasses::default_of(cluster)
        {
            child(claim, "spec").insert("storageClassName".to_owned(), class.into());
        }
        Ok(())
    }

    fn admit_update(
        &self,
        new: &mut Value,
        old: &Value,
        cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        let size = |claim: &Value| text(claim, REQUEST).parse::<Quantity>().ok();
        let grows = matches!((size(new), size(old)), (Some(new), Some(old)) if new > old);
        if !grows || text(old, "/status/phase") != "Bound" {
            return Ok(());
        }
        let class = class_of(old).filter(|name| !name.is_empty());
        let class = class.and_then(|name| cluster.get(&storageclasses::STORAGECLASSES, "", name));
        if class.is_some_and(|class| is_true(&class, "allowVolumeExpansion")) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(AdmissionError::Forbidden(why.to_owned()))
    }

    fn validate(&self, claim: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::new("spec");
        let spec = claim.get("spec").unwrap_or(&Value::Null);
        access_modes(spec, "at least 1 access mode is required", &path, errors);
        let resources = path.child("resources");
        match claim.pointer(REQUEST) {
            None => errors.push(FieldError::required(&resources.key("storage"), "")),
            Some(size) => storage(size, &resources.child("requests").key("storage"), errors),
        }
        if let Some(selector) = spec.get("selector") {
            label_selector::validate(selector, &path.child("selector"), errors);
        }
        mode_and_class(spec, &path, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part, errors: &mut Vec<FieldError>) {
        if part != Part::Main {
            return;
        }
        self.validate(new, errors);
        let bound = text(old, "/status/phase") == "Bound";
        // Also what binding and a default class that comes later fill in.
        let fixed = |claim: &Value| {
            let mut spec = claim.get("spec").cloned().unwrap_or_default();
            let fields = as_object(&mut spec);
            for (field, may_change) in [
                ("volumeName", text(old, "/spec/volumeName").is_empty()),
                ("storageClassName", old.pointer("/spec/storageClassName").is_none()),
                ("volumeAttributesClassName", bound),
            ] {
                if may_change {
                    fields.remove(field);
                }
            }
            if bound && let Some(Value::Object(resources)) = fields.get_mut("resources") {
                resources.remove("requests");
            }
            spec
        };
        let path = Path::new("spec");
        if fixed(new) != fixed(old) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden(&path, detail));
        }
        let amount = |claim: &Value, pointer: &str| text(claim, pointer).parse::<Quantity>().ok();
        if let (Some(wanted), Some(held)) = (amount(new, REQUEST), amount(old, "/status/capacity/storage"))
            && wanted < held
            && amount(old, REQUEST).is_some_and(|before| wanted < before)
        {
            let path = path.child("resources").child("requests").child("storage");
            errors.push(FieldError::forbidden(&path, "field can not be less than status.capacity"));
        }
    }
}

/// The size that a claim asks for.
pub(crate) fn requested(claim: &Value) -> Option<Quantity> {
    text(claim, REQUEST).parse().ok()
}

/// Whether a pod uses a claim of its namespace by a volume.
pub(crate) fn uses(pod: &Value, claim: &str) -> bool {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    let pod = text(pod, "/metadata/name");
    volumes.into_iter().any(|volume| {
        let of_ephemeral = || {
            volume.get("ephemeral").is_some_and(Value::is_object)
                && claim.strip_prefix(pod).and_then(|rest| rest.strip_prefix('-'))
                    == Some(string(volume, "name"))
        };
        text(volume, "/persistentVolumeClaim/claimName") == claim || of_ephemeral()
    })
}

#[cfg(test)]
mod tests;
