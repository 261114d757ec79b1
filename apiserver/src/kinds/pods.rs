//! Pods: the kind with the most rules.
//!
//! `pods/defaults.rs` fills in what is left out, `pods/admission.rs` what depends on other objects, `pods/accounts.rs` what comes
//! with the service account, `pods/validation.rs` and what is
//! below it checks. What may change later is said by `pods/update.rs`, and for the sub-resources by `pods/status.rs`,
//! `pods/ephemeral.rs` and `pods/resize.rs`.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use serde_json::{Value, json};

use super::bindings::BINDING;
use super::field::{FieldError, Path};
use super::values::{child, number};
use super::{
    ALL_VERBS, AdmissionError, Behaviour, Body, CREATE_ONLY, Cluster, Deletion, Kind, NameRule, Part, Scope,
    Storage, Subresource, define, text,
};
use crate::table::pods::COLUMNS;

mod accounts;
mod admission;
mod defaults;
mod ephemeral;
mod resize;
mod status;
mod update;
mod validation;

pub(crate) use accounts::{DEFAULT_ACCOUNT, PLUGIN as ACCOUNTS_PLUGIN, ROOT_CERTIFICATE};
pub(crate) use update::is_mirror;

const POD: Body = Body { group: "", version: "v1", kind: "Pod", define: define::<Pod> };
/// The body of `pods/eviction`.
pub(crate) const EVICTION: Body =
    Body { group: "policy", version: "v1", kind: "Eviction", define: define::<Eviction> };

/// What can be done with a part of a pod.
const PART_VERBS: &[&str] = &["get", "patch", "update"];

pub(crate) static PODS: Kind = Kind {
    body: POD,
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[
        Subresource::stream("attach", "PodAttachOptions"),
        Subresource { name: "binding", body: BINDING, verbs: CREATE_ONLY },
        Subresource { name: "ephemeralcontainers", body: POD, verbs: PART_VERBS },
        Subresource { name: "eviction", body: EVICTION, verbs: CREATE_ONLY },
        Subresource::stream("exec", "PodExecOptions"),
        Subresource { name: "log", body: POD, verbs: &["get"] },
        Subresource::stream("portforward", "PodPortForwardOptions"),
        Subresource::proxy("PodProxyOptions"),
        Subresource { name: "resize", body: POD, verbs: PART_VERBS },
        Subresource { name: "status", body: POD, verbs: PART_VERBS },
    ],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: true,
    behaviour: &Pods,
    columns: COLUMNS,
};

/// The pod as the typed object, for what is computed there. Only of pods that the schema check has passed, so that it fails for none;
/// an empty pod stands for one that it does fail for.
fn typed(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).unwrap_or_default()
}

#[derive(Debug)]
struct Pods;

impl Behaviour for Pods {
    fn defaults(&self, pod: &mut Value) {
        defaults::apply(pod);
    }

    fn prepare_create(&self, pod: &mut Value) {
        child(pod, "status").insert("phase".to_owned(), "Pending".into());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        match part {
            Part::Main | Part::Approval => update::prepare(new, old),
            Part::Status => status::prepare(new, old),
            Part::EphemeralContainers => ephemeral::prepare(new, old),
            Part::Resize => resize::prepare(new, old),
        }
    }

    fn admit_create(&self, pod: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
        admission::admit(pod, cluster)?;
        let class = podspec::qos_class(&typed(pod));
        child(pod, "status").insert("qosClass".to_owned(), json!(class.to_string()));
        Ok(())
    }

    fn validate(&self, pod: &Value, errors: &mut Vec<FieldError>) {
        validation::pod(pod, errors);
        if pod.pointer("/spec/ephemeralContainers").and_then(Value::as_array).is_some_and(|c| !c.is_empty()) {
            let path = Path::new("spec").child("ephemeralContainers");
            errors.push(FieldError::forbidden(&path, "cannot be set on create"));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part, errors: &mut Vec<FieldError>) {
        match part {
            Part::Main | Part::Approval => update::validate(new, old, errors),
            Part::Status => status::validate(new, old, errors),
            Part::EphemeralContainers => ephemeral::validate(new, old, errors),
            Part::Resize => resize::validate(new, old, errors),
        }
    }

    fn permit_update(
        &self,
        new: &Value,
        old: &Value,
        part: Part,
        cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        if part == Part::Resize { resize::permit(new, old, cluster) } else { Ok(()) }
    }

    fn field<'a>(&self, pod: &'a Value, field: &str) -> Option<Cow<'a, str>> {
        let pointer = match field {
            "spec.nodeName" => "/spec/nodeName",
            "spec.restartPolicy" => "/spec/restartPolicy",
            "spec.schedulerName" => "/spec/schedulerName",
            "spec.serviceAccountName" => "/spec/serviceAccountName",
            "status.phase" => "/status/phase",
            "status.podIP" => "/status/podIP",
            "status.nominatedNodeName" => "/status/nominatedNodeName",
            "spec.hostNetwork" => {
                let host = pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
                return Some(host.to_string().into());
            }
            _ => return None,
        };
        Some(text(pod, pointer).into())
    }

    /// The pod's own period unless the request gives another. Nobody has to be waited for if no node has the pod, or if it has
    /// ended.
    fn deletion(&self, pod: &Value, requested: Option<i64>) -> Deletion {
        let own = pod.get("spec").and_then(|s| number(s, "terminationGracePeriodSeconds"));
        let ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        let unbound = text(pod, "/spec/nodeName").is_empty();
        // A negative period, which old clients could write, counts as one second.
        let grace = match requested.or(own).unwrap_or(defaults::GRACE_SECONDS) {
            grace if grace < 0 => 1,
            grace => grace,
        };
        if ended || unbound || grace == 0 { Deletion::Now } else { Deletion::Grace(grace) }
    }
}

#[cfg(test)]
mod tests;
