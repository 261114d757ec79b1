//! Lets go claims and volumes that were deleted, when nobody uses them any more.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::api::{Api, in_form_of, prefix};
use crate::cache::Object;
use crate::controller::{self, Again};
use crate::kinds::persistentvolumeclaims::{self, PERSISTENTVOLUMECLAIMS, uses};
use crate::kinds::persistentvolumes::{self, PERSISTENTVOLUMES};
use crate::kinds::pods::PODS;
use crate::kinds::values::items;
use crate::kinds::{Kind, metadata, text};
use crate::status::ApiError;
use crate::store::WriteError;
use crate::verbs::update::store;

/// After a pass there is a pause of this many times what it took.
const PAUSES: u32 = 4;

/// Lets go until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    let kinds = [&PERSISTENTVOLUMES, &PERSISTENTVOLUMECLAIMS, &PODS];
    controller::run(&api, "claims and volumes that were deleted", &kinds, async || {
        let began = Instant::now();
        let again = pass(&api).await;
        sleep(began.elapsed() * PAUSES).await;
        again
    })
    .await;
}

async fn pass(api: &Api) -> Result<Again, ApiError> {
    for claim in deleted(api, &PERSISTENTVOLUMECLAIMS) {
        let value = claim.value();
        let (namespace, name) = (text(&value, "/metadata/namespace"), text(&value, "/metadata/name"));
        let pods = api.cache.list_cached(&prefix(&PODS, namespace));
        // A pod without a node will not get one: it is not started with a claim that goes.
        let in_use = pods
            .iter()
            .map(|pod| pod.value())
            .any(|pod| !text(&pod, "/spec/nodeName").is_empty() && uses(&pod, name));
        if !in_use {
            release(api, &PERSISTENTVOLUMECLAIMS, &claim, persistentvolumeclaims::PROTECTION).await?;
        }
    }
    for volume in deleted(api, &PERSISTENTVOLUMES) {
        if text(&volume.value(), "/status/phase") != "Bound" {
            release(api, &PERSISTENTVOLUMES, &volume, persistentvolumes::PROTECTION).await?;
        }
    }
    Ok(Again::OnChange)
}

/// Those that are being deleted. Others are not parsed.
fn deleted(api: &Api, kind: &Kind) -> Vec<Arc<Object>> {
    let mut objects = api.cache.list_cached(&prefix(kind, ""));
    objects.retain(|o| memchr::memmem::find(o.stored_json(), b"\"deletionTimestamp\"").is_some());
    objects
}

async fn release(api: &Api, kind: &'static Kind, current: &Object, finalizer: &str) -> Result<(), ApiError> {
    let mut object = in_form_of(kind, current);
    let finalizers = items(&object["metadata"], "finalizers");
    if !finalizers.iter().any(|f| f == finalizer) {
        return Ok(());
    }
    let kept: Vec<Value> = finalizers.iter().filter(|f| *f != finalizer).cloned().collect();
    metadata::of(&mut object).insert("finalizers".to_owned(), kept.into());
    let name = text(&object, "/metadata/name").to_owned();
    match store(api, kind, current, object).await {
        // Somebody else was quicker, which is a change.
        Ok(_) | Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => Ok(()),
        Err(error) => Err(ApiError::of_write(error, kind, &name)),
    }
}
