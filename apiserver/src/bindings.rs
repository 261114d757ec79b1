//! `pods/binding` and `bindings`: a scheduler's decision.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received, in_form_of, timestamp};
use crate::kinds::field::Path;
use crate::kinds::pods::PODS;
use crate::kinds::values::child_of;
use crate::kinds::{FieldError, Kind, bindings::BINDINGS, metadata, text};
use crate::request::options::WriteOptions;
use crate::status::{ApiError, success};
use crate::store::WriteError;
use crate::verbs::{read_body, update::store};

/// How often a binding is tried again after somebody else wrote the pod.
const ATTEMPTS: usize = 8;

pub(crate) async fn bind(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let checked = read_body(&BINDINGS.body, body, options.field_validation)?;
    let binding = checked.value;
    let name = text(&binding, "/metadata/name");
    // `bindings` has no name in its path.
    let name = if call.name().is_empty() { name } else { call.name() };
    if !text(&binding, "/metadata/name").is_empty() && text(&binding, "/metadata/name") != name {
        let given = text(&binding, "/metadata/name");
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    let mut errors = Vec::new();
    let target = Path::new("target");
    if !matches!(text(&binding, "/target/kind"), "" | "Node") {
        let kind = text(&binding, "/target/kind");
        errors.push(FieldError::not_supported(&target.child("kind"), kind, &["Node", "<empty>"]));
    }
    if text(&binding, "/target/name").is_empty() {
        errors.push(FieldError::required(&target.child("name"), ""));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(&BINDINGS, name, &errors));
    }
    let pods = &PODS;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let current = api.stored(pods, call.namespace(), name).await?;
        let mut pod = in_form_of(pods, &current);
        assign(pods, &mut pod, &binding)?;
        if options.dry_run {
            break;
        }
        match store(api, pods, &current, pod).await {
            Ok(_) => break,
            Err(WriteError::Conflict { .. }) if attempts > 0 => {}
            Err(error) => return Err(ApiError::of_write(error, pods, name)),
        }
    }
    Ok(Answer { code: 201, content: Content::Plain(success(201)), warnings: checked.warnings })
}

/// Puts the pod on the node, if it may still go there.
fn assign(pods: &Kind, pod: &mut Value, binding: &Value) -> Result<(), ApiError> {
    let name = text(pod, "/metadata/name").to_owned();
    let conflict = |why: &str| {
        let mut refusal = ApiError::conflict(pods, &name, why);
        refusal.message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
        refusal
    };
    let node = text(binding, "/target/name");
    for (what, field) in [("UID", "/metadata/uid"), ("ResourceVersion", "/metadata/resourceVersion")] {
        let (wanted, found) = (text(binding, field), text(pod, field));
        if !wanted.is_empty() && wanted != found {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Err(conflict(&why));
        }
    }
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return Err(conflict(&format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    match text(pod, "/spec/nodeName") {
        "" => {}
        taken => return Err(conflict(&format!("pod {name} is already assigned to node \"{taken}\""))),
    }
    if pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|g| !g.is_empty()) {
        return Err(conflict(&format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    crate::kinds::values::child(pod, "spec").insert("nodeName".to_owned(), node.into());
    for map in ["annotations", "labels"] {
        let Some(added) = binding.pointer(&format!("/metadata/{map}")).and_then(Value::as_object) else {
            continue;
        };
        child_of(metadata::of(pod), map).extend(added.clone());
    }
    set_scheduled(pod);
    Ok(())
}

/// Sets the condition PodScheduled to True.
fn set_scheduled(pod: &mut Value) {
    let status = crate::kinds::values::child(pod, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    let was_true = |c: &Value| text(c, "/type") == "PodScheduled" && text(c, "/status") == "True";
    if conditions.iter().any(was_true) {
        return;
    }
    let now = timestamp(Timestamp::now());
    let condition =
        json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now });
    match conditions.iter_mut().find(|c| text(c, "/type") == "PodScheduled") {
        Some(existing) => *existing = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests;
