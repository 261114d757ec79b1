//! What stands in the status of a disruption budget. Pure.
//!
//! The rules are upstream's. How many pods there should be is known where `minAvailable` is a number. A percentage and
//! `maxUnavailable` refer to the scale of what made the pods, of which this server has nothing: for such budgets no eviction is
//! allowed, and the condition says so (as upstream, where it does not find a pod's controller).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::api::timestamp;
use crate::kinds::values::{child_of, items, number, string};
use crate::kinds::{poddisruptionbudgets::percentage, text};

const CONDITION: &str = "DisruptionAllowed";
/// The reason where nothing is allowed because the count failed.
pub(crate) const SYNC_FAILED: &str = "SyncFailed";
/// A pod whose eviction was allowed is not counted this long; if it is still there then, it is again.
const DELETION: SignedDuration = SignedDuration::from_mins(2);

/// How many pods there are to be, and how many of them healthy.
struct Wanted {
    expected: i64,
    healthy: i64,
}

/// The status that a budget should have, by the pods that it selects, and when it is to be looked at again although nothing changes.
pub(crate) fn of(budget: &Value, pods: &[&Value], now: Timestamp) -> (Value, Option<Duration>) {
    let mut status = budget.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    let generation = number(&budget["metadata"], "generation").unwrap_or(0);
    let wanted = match wanted(&budget["spec"], pods) {
        Ok(wanted) => wanted,
        Err(why) => {
            status.insert("disruptionsAllowed".to_owned(), 0.into());
            let condition = (false, SYNC_FAILED, why.as_str());
            set_condition(&mut status, condition, generation, now);
            return (status.into(), None);
        }
    };
    let (disrupted, recheck) = disrupted(&status, pods, now);
    let counts = |pod: &&&Value| {
        text(pod, "/metadata/deletionTimestamp").is_empty()
            && !disrupted.contains_key(text(pod, "/metadata/name"))
            && is_ready(pod)
    };
    let healthy = i64::try_from(pods.iter().filter(counts).count()).unwrap_or(i64::MAX);
    let allowed = if wanted.expected > 0 { (healthy - wanted.healthy).max(0) } else { 0 };
    for (field, count) in [
        ("currentHealthy", healthy),
        ("desiredHealthy", wanted.healthy),
        ("disruptionsAllowed", allowed),
        ("expectedPods", wanted.expected),
        ("observedGeneration", generation),
    ] {
        status.insert(field.to_owned(), count.into());
    }
    if disrupted.is_empty() {
        status.remove("disruptedPods");
    } else {
        status.insert("disruptedPods".to_owned(), disrupted.into());
    }
    set_condition(&mut status, allowance(allowed), generation, now);
    (status.into(), recheck)
}

/// What the condition says of a number of allowed evictions.
fn allowance(allowed: i64) -> (bool, &'static str, &'static str) {
    if allowed > 0 { (true, "SufficientPods", "") } else { (false, "InsufficientPods", "") }
}

fn wanted(spec: &Value, pods: &[&Value]) -> Result<Wanted, String> {
    if let Some(count) = number(spec, "minAvailable") {
        return Ok(Wanted { expected: i64::try_from(pods.len()).unwrap_or(i64::MAX), healthy: count });
    }
    let expected = scale(pods)?;
    let of_all = |bound: &Value| match bound {
        Value::String(text) => {
            let percent = i64::try_from(percentage(text).unwrap_or(0).min(100)).unwrap_or(100);
            (expected * percent + 99) / 100
        }
        count => count.as_i64().unwrap_or(0),
    };
    let healthy = match (spec.get("minAvailable"), spec.get("maxUnavailable")) {
        (Some(most), _) => of_all(most),
        (None, Some(unavailable)) => (expected - of_all(unavailable)).max(0),
        (None, None) => return Ok(Wanted { expected: 0, healthy: 0 }),
    };
    Ok(Wanted { expected, healthy })
}

/// How many pods their controllers want: pods without a controller count for nothing, and no controller is known here.
fn scale(pods: &[&Value]) -> Result<i64, String> {
    let is_controlled = |pod: &&&Value| {
        items(&pod["metadata"], "ownerReferences").iter().any(|owner| owner["controller"] == true)
    };
    match pods.iter().find(is_controlled) {
        None => Ok(0),
        Some(pod) => Err(format!("found no controllers for pod {}", json!(text(pod, "/metadata/name")))),
    }
}

/// Pods whose eviction was allowed and that are still there, with the time of that; and when the first of them is to be counted again.
fn disrupted(
    status: &Map<String, Value>,
    pods: &[&Value],
    now: Timestamp,
) -> (Map<String, Value>, Option<Duration>) {
    let mut kept = Map::new();
    let mut recheck: Option<Duration> = None;
    let known = status.get("disruptedPods").and_then(Value::as_object);
    for pod in pods.iter().filter(|pod| text(pod, "/metadata/deletionTimestamp").is_empty()) {
        let name = text(pod, "/metadata/name");
        let Some(since) = known.and_then(|known| known.get(name)).and_then(Value::as_str) else { continue };
        let Some(left) = since.parse::<Timestamp>().ok().map(|since| DELETION - now.duration_since(since))
        else {
            continue;
        };
        // A time in the future is that of a clock that was wrong.
        if let Ok(left) = Duration::try_from(left.min(DELETION)) {
            kept.insert(name.to_owned(), since.into());
            let left = left + Duration::from_secs(1);
            recheck = Some(recheck.map_or(left, |earlier| earlier.min(left)));
        } else {
            tracing::warn!(pod = name, "a pod that was to be evicted is still there, and counts again");
        }
    }
    (kept, recheck)
}

/// Whether a pod counts as healthy.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.get("status").map_or(&[][..], |status| items(status, "conditions"));
    conditions.iter().any(|c| string(c, "type") == "Ready" && string(c, "status") == "True")
}

/// The budget's condition, if there is one.
pub(crate) fn condition(budget: &Value) -> Option<&Value> {
    let conditions = budget.get("status").map_or(&[][..], |status| items(status, "conditions"));
    conditions.iter().find(|c| string(c, "type") == CONDITION)
}

fn set_condition(
    status: &mut Map<String, Value>,
    (allowed, reason, message): (bool, &str, &str),
    generation: i64,
    now: Timestamp,
) {
    let value = if allowed { "True" } else { "False" };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    let at = conditions.iter().position(|c| string(c, "type") == CONDITION);
    let turned = at
        .and_then(|at| conditions.get(at))
        .filter(|known| string(known, "status") == value)
        .and_then(|known| known.get("lastTransitionTime").cloned())
        .unwrap_or_else(|| timestamp(now).into());
    let condition = json!({
        "type": CONDITION,
        "status": value,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": turned,
    });
    match at.and_then(|at| conditions.get_mut(at)) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

/// Takes one eviction, that of the pod of this name, from what a budget allows.
pub(crate) fn take(budget: &mut Value, pod: &str, now: Timestamp) {
    let generation = number(&budget["status"], "observedGeneration").unwrap_or(0);
    let status = crate::kinds::values::child(budget, "status");
    let left = status.get("disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0) - 1;
    status.insert("disruptionsAllowed".to_owned(), left.into());
    if left <= 0 {
        set_condition(status, allowance(0), generation, now);
    }
    child_of(status, "disruptedPods").insert(pod.to_owned(), timestamp(now).into());
}

#[cfg(test)]
mod tests;
