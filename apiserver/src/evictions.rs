//! `pods/eviction`: a delete that asks first. There are no disruption budgets yet that could say no.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admission::{self, Operation, Write};
use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received, in_form_of, timestamp};
use crate::kinds::pods::EVICTION;
use crate::kinds::text;
use crate::kinds::values::child;
use crate::request::options::{DeleteOptions, WriteOptions};
use crate::status::{ApiError, success};
use crate::store::WriteError;
use crate::verbs::{
    delete::{check_preconditions, delete_one},
    read_body,
    update::store,
};

/// How often a pod is marked again after somebody else wrote it.
const ATTEMPTS: usize = 8;

pub(crate) async fn evict(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let checked = read_body(&EVICTION, body, options.field_validation)?;
    if text(&checked.value, "/metadata/name") != call.name() {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut delete = match checked.value.get("deleteOptions") {
        Some(given @ Value::Object(_)) => DeleteOptions::of_body(given)?,
        _ => DeleteOptions::default(),
    };
    delete.dry_run |= options.dry_run;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let current = api.stored(call.kind, call.namespace(), call.name()).await?;
        let mut pod = in_form_of(call.kind, &current);
        let operation = Operation::Create(&pod);
        let (user, kind, subresource) = (&call.user, call.kind, call.subresource());
        admission::admit(api, &Write { user, kind, subresource, name: call.name(), operation })?;
        check_preconditions(call.kind, call.name(), &pod, &delete)?;
        if delete.dry_run || is_ending(&pod) {
            break;
        }
        mark(&mut pod);
        match store(api, call.kind, &current, pod).await {
            Ok(Content::Stored(marked)) => {
                // The version that was asked for was there: from now on the marked one is meant.
                delete.resource_version = delete.resource_version.map(|_| marked.revision().to_string());
                break;
            }
            Ok(_) => break,
            Err(WriteError::Conflict { .. }) if attempts > 0 => {}
            Err(error) => return Err(ApiError::of_write(error, call.kind, call.name())),
        }
    }
    delete_one(api, &call.user, call.kind, call.namespace(), call.name(), &delete).await?;
    Ok(Answer { code: 201, content: Content::Plain(success(201)), warnings: checked.warnings })
}

/// Whether the pod ends anyway.
fn is_ending(pod: &Value) -> bool {
    !text(pod, "/metadata/deletionTimestamp").is_empty()
        || matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Says in the pod's status why it ends.
fn mark(pod: &mut Value) {
    const KIND: &str = "DisruptionTarget";
    let condition = json!({
        "type": KIND,
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": null,
        "lastTransitionTime": timestamp(Timestamp::now()),
        "observedGeneration": pod.pointer("/metadata/generation"),
    });
    let conditions = child(pod, "status").entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    conditions.retain(|c| text(c, "/type") != KIND);
    conditions.push(condition);
}
