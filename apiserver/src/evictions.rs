//! `pods/eviction`: a delete that asks the pod's disruption budget first.
//!
//! ```text
//!  pod that has ended, ends or has not begun ───────────────────────────────> delete
//!  pod without a budget ────────────────────────────────────────────────────> delete
//!  more than one budget ────────────────────────────────────────────────────> 500
//!  unhealthy pod, where the budget lets it go or is kept without it ────────> delete, if it is the same version still
//!  anything else ──> one of the allowed disruptions is taken (or 429) ──────> delete
//! ```

use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::admission::{self, Operation, Write};
use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received, in_form_of, timestamp};
use crate::budgets::{self, status};
use crate::kinds::poddisruptionbudgets::PODDISRUPTIONBUDGETS;
use crate::kinds::pods::EVICTION;
use crate::kinds::text;
use crate::kinds::values::{child, number, string};
use crate::request::options::{DeleteOptions, WriteOptions};
use crate::status::{ApiError, success};
use crate::store::WriteError;
use crate::verbs::{
    delete::{check_preconditions, delete_one},
    read_body,
    update::store,
};

/// How often a pod is marked again, or a budget looked at again, after somebody else wrote it.
const ATTEMPTS: usize = 8;
/// Evictions of one budget that the count has not confirmed yet.
const UNCONFIRMED_LIMIT: usize = 2000;
/// What a client is to wait before it tries again, where the budget only has to be counted, in seconds.
const COUNTED_SOON: u32 = 10;

pub(crate) async fn evict(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let checked = read_body(&EVICTION, body, options.field_validation)?;
    if text(&checked.value, "/metadata/name") != call.name() {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut asked = match checked.value.get("deleteOptions") {
        Some(given @ Value::Object(_)) => DeleteOptions::of_body(given)?,
        _ => DeleteOptions::default(),
    };
    asked.dry_run |= options.dry_run;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let pod = admitted(api, call, &asked).await?;
        let leave = match standing(&pod) {
            Standing::Over => Leave::Given,
            Standing::NotBegun => Leave::OfThisVersion,
            Standing::Running => ask(api, &pod, asked.dry_run).await?,
        };
        let named = asked.resource_version.is_some();
        let mut delete = asked.clone();
        if leave != Leave::Given && !named {
            delete.resource_version = Some(text(&pod, "/metadata/resourceVersion").to_owned());
        }
        match carry_out(api, call, delete).await {
            Ok(()) => break,
            // The pod may be healthy by now. Who asked for a version gets to know that it is gone.
            Err(refusal) if refusal.reason == "Conflict" && !named && attempts > 0 => match leave {
                Leave::OfThisVersion => {}
                Leave::Unhealthy(budget) => return Err(uncounted(&budget)),
                Leave::Given => return Err(refusal),
            },
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(Answer { code: 201, content: Content::Plain(success(201)), warnings: checked.warnings })
}

/// The pod as it is, if the caller may evict it and means this one.
async fn admitted(api: &Api, call: &Call, asked: &DeleteOptions) -> Result<Value, ApiError> {
    let current = api.stored(call.kind, call.namespace(), call.name()).await?;
    let pod = in_form_of(call.kind, &current);
    let operation = Operation::Create(&pod);
    let (user, kind, subresource) = (&call.user, call.kind, call.subresource());
    admission::admit(api, &Write { user, kind, subresource, name: call.name(), operation })?;
    check_preconditions(call.kind, call.name(), &pod, asked)?;
    Ok(pod)
}

/// What a pod's end would be to its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has ended, or ends anyway.
    Over,
    /// It does not serve yet.
    NotBegun,
    Running,
}

fn standing(pod: &Value) -> Standing {
    match text(pod, "/status/phase") {
        _ if !text(pod, "/metadata/deletionTimestamp").is_empty() => Standing::Over,
        "Succeeded" | "Failed" => Standing::Over,
        "Pending" => Standing::NotBegun,
        _ => Standing::Running,
    }
}

/// A pod may go.
#[derive(Debug, PartialEq, Eq)]
enum Leave {
    Given,
    /// As it is now; another version is to be looked at again.
    OfThisVersion,
    /// The same, where this budget was kept without it.
    Unhealthy(String),
}

/// Asks the pod's budget, and takes from what it allows.
async fn ask(api: &Api, pod: &Value, dry_run: bool) -> Result<Leave, ApiError> {
    let budgets = budgets::of_pod(api, pod);
    let mut budget = match budgets.as_slice() {
        [] => return Ok(Leave::Given),
        [one] => one.clone(),
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::new(500, "", message));
        }
    };
    let name = text(&budget.value(), "/metadata/name").to_owned();
    if !status::is_ready(pod) && lets_unhealthy_go(&budget.value()) {
        return Ok(Leave::Unhealthy(name));
    }
    for _ in 0..ATTEMPTS {
        let mut counted = in_form_of(&PODDISRUPTIONBUDGETS, &budget);
        may_disrupt(&counted)?;
        if dry_run {
            return Ok(Leave::Given);
        }
        status::take(&mut counted, text(pod, "/metadata/name"), Timestamp::now());
        match store(api, &PODDISRUPTIONBUDGETS, &budget, counted).await {
            Ok(_) => return Ok(Leave::Given),
            Err(WriteError::Conflict { .. }) => {
                budget = api.stored(&PODDISRUPTIONBUDGETS, text(pod, "/metadata/namespace"), &name).await?;
            }
            Err(error) => return Err(ApiError::of_write(error, &PODDISRUPTIONBUDGETS, &name)),
        }
    }
    let message = format!("couldn't update PodDisruptionBudget {name:?} due to conflicts");
    Err(ApiError::timeout(message).with_retry_after(10))
}

/// Whether an unhealthy pod may go without taking from what the budget allows: it is no healthy pod less.
fn lets_unhealthy_go(budget: &Value) -> bool {
    if text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow" {
        return true;
    }
    let count = |field: &str| number(&budget["status"], field).unwrap_or(0);
    let desired = count("desiredHealthy");
    desired > 0 && count("currentHealthy") >= desired
}

/// Whether one more may go now.
fn may_disrupt(budget: &Value) -> Result<(), ApiError> {
    let name = text(budget, "/metadata/name");
    let status = &budget["status"];
    let count = |field: &str| number(status, field).unwrap_or(0);
    if count("observedGeneration") < number(&budget["metadata"], "generation").unwrap_or(0) {
        return Err(uncounted(name));
    }
    // Upstream names the resource in the singular here.
    let forbidden = |why: &str| ApiError::forbidden_resource("policy", "poddisruptionbudget", name, why);
    if count("disruptionsAllowed") < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let unconfirmed = status.get("disruptedPods").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    if unconfirmed > UNCONFIRMED_LIMIT {
        return Err(forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if count("disruptionsAllowed") > 0 {
        return Ok(());
    }
    let failed = status::condition(budget)
        .filter(|c| string(c, "status") == "False" && string(c, "reason") == status::SYNC_FAILED);
    let cause = match failed {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            string(condition, "message")
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count("desiredHealthy"),
            count("currentHealthy")
        ),
    };
    Err(ApiError::violates_budget(&cause))
}

/// The budget has not been counted, or not since something changed.
fn uncounted(name: &str) -> ApiError {
    let cause = format!("The disruption budget {name} is still being processed by the server.");
    ApiError::violates_budget(&cause).with_retry_after(COUNTED_SOON)
}

/// Says in the pod why it ends, and ends it. Conflicts are those of a version that was asked for.
async fn carry_out(api: &Api, call: &Call, mut delete: DeleteOptions) -> Result<(), ApiError> {
    let mut attempts = ATTEMPTS;
    while !delete.dry_run {
        attempts -= 1;
        let current = api.stored(call.kind, call.namespace(), call.name()).await?;
        let mut pod = in_form_of(call.kind, &current);
        check_preconditions(call.kind, call.name(), &pod, &delete)?;
        if standing(&pod) == Standing::Over {
            break;
        }
        mark(&mut pod, "EvictionByEvictionAPI", "Eviction API: evicting");
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
    delete_one(api, &call.user, call.kind, call.namespace(), call.name(), &delete).await.map(|_| ())
}

/// Says in the pod's status why it ends.
pub(crate) fn mark(pod: &mut Value, reason: &str, message: &str) {
    const KIND: &str = "DisruptionTarget";
    let condition = json!({
        "type": KIND,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": timestamp(Timestamp::now()),
        "observedGeneration": pod.pointer("/metadata/generation"),
    });
    let conditions = child(pod, "status").entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    conditions.retain(|c| text(c, "/type") != KIND);
    conditions.push(condition);
}

#[cfg(test)]
mod tests;
