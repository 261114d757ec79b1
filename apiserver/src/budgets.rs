//! Keeps the status of disruption budgets current: how many of their pods are healthy, and how many may be evicted.
//!
//! ```text
//!  pods, budgets ──change──> pass: count (pure, `status`) ──> status of each budget that is not as it should be
//!  eviction ──takes one of what is allowed, and puts the pod's name into `disruptedPods`──> the same object
//! ```
//!
//! Both write with the version that they have read, so that nothing is allowed twice: an eviction that comes between a count and its
//! write makes the write fail, and the next pass finds the evicted pod's name and does not count it as healthy.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::api::{Api, in_form_of, prefix};
use crate::controller::{self, Again};
use crate::kinds::label_selector::selects;
use crate::kinds::poddisruptionbudgets::PODDISRUPTIONBUDGETS;
use crate::kinds::pods::PODS;
use crate::kinds::text;
use crate::kinds::values::as_object;
use crate::status::ApiError;
use crate::store::WriteError;
use crate::verbs::update::store;

pub(crate) mod status;

/// After a pass there is a pause of this many times what it took: a namespace whose pods all start at once is not counted anew for
/// each of their steps.
const PAUSES: u32 = 4;

/// Keeps them current until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    controller::run(&api, "disruption budgets", &[&PODDISRUPTIONBUDGETS, &PODS], || pass(&api)).await;
}

async fn pass(api: &Api) -> Result<Again, ApiError> {
    let began = Instant::now();
    let mut by_namespace: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for object in api.cache.list_cached(&prefix(&PODDISRUPTIONBUDGETS, "")) {
        let budget = in_form_of(&PODDISRUPTIONBUDGETS, &object);
        by_namespace
            .entry(text(&budget, "/metadata/namespace").to_owned())
            .or_default()
            .push((object, budget));
    }
    if by_namespace.is_empty() {
        return Ok(Again::OnChange);
    }
    let mut again = Again::OnChange;
    for (namespace, budgets) in by_namespace {
        // After the budgets: what an eviction has taken from a budget that was listed here may show in the pods already, and then the
        // budget has another version by now.
        let pods: Vec<Arc<Value>> =
            api.cache.list_cached(&prefix(&PODS, &namespace)).iter().map(|pod| pod.value()).collect();
        for (object, mut budget) in budgets {
            let selected: Vec<&Value> =
                pods.iter().map(AsRef::as_ref).filter(|pod| guards(&budget, pod)).collect();
            let (status, recheck) = status::of(&budget, &selected, Timestamp::now());
            again = again.and(recheck.map_or(Again::OnChange, Again::After));
            if budget.get("status") == Some(&status) {
                continue;
            }
            as_object(&mut budget).insert("status".to_owned(), status);
            let name = text(&budget, "/metadata/name").to_owned();
            match store(api, &PODDISRUPTIONBUDGETS, &object, budget).await {
                // Somebody else was quicker, which is a change.
                Ok(_) | Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => {}
                Err(error) => return Err(ApiError::of_write(error, &PODDISRUPTIONBUDGETS, &name)),
            }
        }
        tokio::task::yield_now().await;
    }
    sleep(began.elapsed() * PAUSES).await;
    Ok(again)
}

/// Whether a pod of its namespace is one that the budget is about. A budget without a selector is about none.
fn guards(budget: &Value, pod: &Value) -> bool {
    budget.pointer("/spec/selector").is_some_and(|selector| selects(selector, pod))
}

/// The budgets that a pod's eviction has to keep. As upstream, a pod without labels has none.
pub(crate) fn of_pod(api: &Api, pod: &Value) -> Vec<Arc<crate::cache::Object>> {
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    if labels.is_none_or(serde_json::Map::is_empty) {
        return Vec::new();
    }
    let mut budgets = api.cache.list_cached(&prefix(&PODDISRUPTIONBUDGETS, text(pod, "/metadata/namespace")));
    budgets.retain(|budget| guards(&budget.value(), pod));
    budgets
}
