//! Binds claims to volumes, and says what becomes of volumes whose claims are gone (as upstream's persistent volume controller, without
//! anything that makes or deletes volumes itself).
//!
//! ```text
//! claim ──fits──> volume names claim, claim names volume ──claim goes──> Released ──policy──> Retain: stays so; Delete: Failed, or whoever made it deletes it
//! ```
//!
//! [`matching`] says which volume a claim gets, [`binding`] what is to be written (both pure). Where a class waits for the first consumer,
//! the scheduler has a volume name the claim, and the binding is finished here. [`protection`] lets go what is no longer in use.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::api::{Api, in_form_of, prefix};
use crate::cache::Object;
use crate::controller::{self, Again};
use crate::kinds::persistentvolumeclaims::PERSISTENTVOLUMECLAIMS;
use crate::kinds::persistentvolumes::PERSISTENTVOLUMES;
use crate::kinds::storageclasses::STORAGECLASSES;
use crate::kinds::{Kind, text};
use crate::status::ApiError;
use crate::store::WriteError;
use crate::told::{Told, tell};
use crate::verbs::update::store;

mod binding;
mod matching;
pub(crate) mod protection;

use binding::{Event, Outcome};

const BY: &str = "persistentvolume-controller";
/// After a pass there is a pause of this many times what it took.
const PAUSES: u32 = 4;

/// What claims and volumes were told last, by UID, so that it is not told again.
type Said = HashMap<String, String>;

/// Binds until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    let said = Mutex::new(Said::new());
    let kinds = [&PERSISTENTVOLUMES, &PERSISTENTVOLUMECLAIMS, &STORAGECLASSES];
    controller::run(&api, "claims to volumes", &kinds, async || {
        let began = Instant::now();
        let again = pass(&api, &mut *said.lock().await).await;
        sleep(began.elapsed() * PAUSES).await;
        again
    })
    .await;
}

/// An object with the version that a write of it is for.
type Versioned = (Arc<Object>, Value);

fn list(api: &Api, kind: &Kind) -> Vec<Versioned> {
    let objects = api.cache.list_cached(&prefix(kind, ""));
    objects.into_iter().map(|object| (object.clone(), in_form_of(kind, &object))).collect()
}

async fn pass(api: &Api, said: &mut Said) -> Result<Again, ApiError> {
    let mut claims = list(api, &PERSISTENTVOLUMECLAIMS);
    let mut volumes = list(api, &PERSISTENTVOLUMES);
    let alive = |uid: &String| {
        claims.iter().chain(&volumes).any(|(_, object)| text(object, "/metadata/uid") == uid.as_str())
    };
    said.retain(|uid, _| alive(uid));
    if claims.is_empty() && volumes.is_empty() {
        return Ok(Again::OnChange);
    }
    // Who came first is served first.
    claims.sort_by_cached_key(|(object, claim)| {
        (text(claim, "/metadata/creationTimestamp").to_owned(), object.key().clone())
    });
    let classes: Vec<Value> = list(api, &STORAGECLASSES).into_iter().map(|(_, class)| class).collect();
    let now = Timestamp::now();
    for (object, claim) in claims {
        let outcome = {
            let values: Vec<&Value> = volumes.iter().map(|(_, volume)| volume).collect();
            binding::claim(&claim, &values, &classes, now)
        };
        let Outcome { volume, claim: changed, event } = outcome;
        let mut bound = true;
        if let Some(volume) = volume {
            bound = write_volume(api, &mut volumes, volume).await?;
        }
        if bound && let Some(changed) = changed {
            write(api, &PERSISTENTVOLUMECLAIMS, &object, changed).await?;
        }
        say(api, &PERSISTENTVOLUMECLAIMS, &claim, event, said).await;
    }
    let claims: Vec<Value> = list(api, &PERSISTENTVOLUMECLAIMS).into_iter().map(|(_, claim)| claim).collect();
    for (object, volume) in list(api, &PERSISTENTVOLUMES) {
        let (changed, event) = binding::volume(&volume, &claims, now);
        if let Some(changed) = changed {
            write(api, &PERSISTENTVOLUMES, &object, changed).await?;
        }
        say(api, &PERSISTENTVOLUMES, &volume, event, said).await;
    }
    Ok(Again::OnChange)
}

/// Writes a volume that now belongs to a claim, and has the others of this pass know; `false` if somebody else was quicker.
async fn write_volume(api: &Api, volumes: &mut [Versioned], changed: Value) -> Result<bool, ApiError> {
    let name = text(&changed, "/metadata/name").to_owned();
    let Some(known) = volumes.iter_mut().find(|(_, volume)| text(volume, "/metadata/name") == name) else {
        return Ok(false);
    };
    let written = write(api, &PERSISTENTVOLUMES, &known.0, changed.clone()).await?;
    // Whatever became of it: in this pass nobody else gets it.
    known.1 = changed;
    Ok(written)
}

/// `false` if somebody else was quicker, which is a change.
async fn write(api: &Api, kind: &'static Kind, object: &Object, changed: Value) -> Result<bool, ApiError> {
    let name = text(&changed, "/metadata/name").to_owned();
    match store(api, kind, object, changed).await {
        Ok(_) => Ok(true),
        Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => Ok(false),
        Err(error) => Err(ApiError::of_write(error, kind, &name)),
    }
}

async fn say(api: &Api, kind: &'static Kind, object: &Value, event: Option<Event>, said: &mut Said) {
    let uid = text(object, "/metadata/uid").to_owned();
    let Some(Event { warning, reason, message }) = event else {
        said.remove(&uid);
        return;
    };
    if said.get(&uid).is_some_and(|last| *last == message) {
        return;
    }
    tell(api, kind, object, Told { by: BY, warning, reason, message: &message }).await;
    said.insert(uid, message);
}
