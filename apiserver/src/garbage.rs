//! Removes what has lost all its owners, and carries out the ways in which an owner can be deleted (as upstream's garbage collector).
//!
//! ```text
//! events of all kinds ──> graph: who names whom as owner ──dirty──> decision ──> deletes, changed owner references, finalizers taken off
//! ```
//!
//! Only objects that name an owner, and those that wait with one of the two finalizers, are kept in the [`graph`]; whether an owner is there is
//! looked up. [`decision`] says what is to be done with one of them (pure).

use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use futures::{StreamExt as _, stream};
use memchr::memmem;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::{Api, in_form_of, key, prefix};
use crate::authenticate::User;
use crate::cache::{EventKind, Freshness, Object, WatchItem, WatchQuery, WatchStart, Watcher};
use crate::kinds::values::{items, string};
use crate::kinds::{self, Kind, Storage, metadata, text};
use crate::request::options::{DeleteOptions, Propagation};
use crate::status::ApiError;
use crate::store::{ReadError, WriteError};
use crate::verbs::delete::delete_one;
use crate::verbs::update::store;

mod decision;
pub(crate) mod graph;

use decision::{Action, OwnerState};
use graph::{Graph, Item, Owner};

/// Objects that are dealt with at once.
const CONCURRENT: usize = 32;
/// Objects that are dealt with before events are looked at again.
const BATCH: usize = 512;
/// Pause before what failed is tried again, and before everything is read again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a write is tried again after somebody else was quicker.
const ATTEMPTS: usize = 8;

/// One kind that is followed.
struct Followed {
    kind: &'static Kind,
    watcher: Watcher,
    changes: watch::Receiver<u64>,
}

/// Collects until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    while !api.stop.is_cancelled() {
        let followed = follow(&api).await;
        match followed {
            Ok(followed) => collect(&api, followed).await,
            Err(error) => tracing::warn!(%error, "garbage collection: tried again"),
        }
        tokio::select! {
            // Both are cancel-safe.
            () = api.stop.cancelled() => {}
            () = sleep(RETRY_AFTER) => {}
        }
    }
}

/// Kinds whose objects can have owners. Events go by themselves.
fn kinds() -> impl Iterator<Item = &'static Kind> {
    kinds::all().iter().copied().filter(|k| matches!(k.storage, Storage::Own) && k.plural != "events")
}

async fn follow(api: &Api) -> Result<Vec<Followed>, ReadError> {
    let mut followed = Vec::new();
    for kind in kinds() {
        let prefix = prefix(kind, "");
        let changes = api.cache.changes(&prefix);
        let start = WatchStart::State { freshness: Freshness::Any, end_marker: false };
        let query = WatchQuery { prefix, start, bookmark_every: None };
        let watcher = match api.cache.watch(query).await {
            Ok(watcher) => watcher,
            Err(crate::cache::WatchError::Failed(error)) => return Err(error),
            // The present state is always there.
            Err(error) => {
                tracing::warn!(%error, "garbage collection");
                continue;
            }
        };
        followed.push(Followed { kind, watcher, changes });
    }
    Ok(followed)
}

/// Goes on until the server stops, or events have been missed.
async fn collect(api: &Api, mut followed: Vec<Followed>) {
    let mut graph = Graph::default();
    loop {
        for one in &mut followed {
            one.changes.mark_unchanged();
            if !take_in(one, &mut graph) {
                return;
            }
        }
        let batch = graph.take_dirty(BATCH);
        if !batch.is_empty() {
            let failed = carry_out(api, &graph, batch).await;
            if !failed.is_empty() {
                graph.mark_dirty(failed);
                sleep(RETRY_AFTER).await;
            }
            continue;
        }
        let changed = select_all(followed.iter_mut().map(|one| Box::pin(one.changes.changed())));
        tokio::select! {
            // Both are cancel-safe: a change that was seen is looked for in the watcher anyway.
            biased;
            () = api.stop.cancelled() => return,
            (outcome, ..) = changed => if outcome.is_err() {
                return;
            }
        }
    }
}

/// Takes in all events of a kind; `false` if some were missed.
fn take_in(followed: &mut Followed, graph: &mut Graph) -> bool {
    loop {
        let Ok(events) = followed.watcher.ready() else { return false };
        if events.is_empty() {
            return true;
        }
        for event in events {
            match event {
                WatchItem::Initial(object) => graph.put(object.key().clone(), item(followed.kind, &object)),
                WatchItem::Event(event) if event.kind() == EventKind::Deleted => {
                    graph.gone(event.key(), text(&event.object().value(), "/metadata/uid"));
                }
                WatchItem::Event(event) => {
                    graph.put(event.key().clone(), item(followed.kind, event.object()));
                }
                WatchItem::InitialEnd { .. } | WatchItem::Bookmark { .. } => {}
            }
        }
    }
}

/// What the graph keeps of an object. Most objects have neither owners nor finalizers, which their bytes tell.
fn item(kind: &'static Kind, object: &Object) -> Option<Item> {
    let has = |name: &[u8]| memmem::find(object.stored_json(), name).is_some();
    let may_matter = has(b"\"ownerReferences\"") || has(b"\"deletionTimestamp\"") && has(b"\"finalizers\"");
    if may_matter { Item::of(kind, &object.value()) } else { None }
}

/// Deals with some objects side by side; gives those that are to be tried again.
async fn carry_out(api: &Api, graph: &Graph, batch: Vec<Arc<str>>) -> Vec<Arc<str>> {
    let outcomes = stream::iter(batch).map(|key| async move {
        let item = graph.get(&key)?;
        let action = decision::of(item, graph, &|owner| state_of(api, item, owner));
        match act(api, graph, item, action).await {
            Ok(()) => None,
            Err(refusal) => {
                tracing::warn!(object = %key, error = %refusal, "garbage collection: tried again");
                Some(key)
            }
        }
    });
    outcomes.buffer_unordered(CONCURRENT).filter_map(async |failed| failed).collect().await
}

/// Whether an owner is there.
fn state_of(api: &Api, dependent: &Item, owner: &Owner) -> OwnerState {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let kind = kinds().find(|k| k.body.group == group && k.body.kind == owner.kind);
    let Some(kind) = kind.filter(|k| !k.namespaced() || dependent.kind.namespaced()) else {
        // Somebody else's kind, or a reference that can lead nowhere: what it means is not known here.
        return OwnerState::Unknown;
    };
    let namespace = if kind.namespaced() { dependent.namespace.as_str() } else { "" };
    let Some(found) = api.cache.get_cached(&key(kind, namespace, &owner.name)) else {
        return OwnerState::Absent;
    };
    let found = found.value();
    if text(&found, "/metadata/uid") != owner.uid {
        OwnerState::Absent
    } else if Item::of(kind, &found).is_some_and(|owner| owner.waits_for_dependents()) {
        OwnerState::Waiting
    } else {
        OwnerState::Solid
    }
}

async fn act(api: &Api, graph: &Graph, item: &Item, action: Action) -> Result<(), ApiError> {
    match action {
        Action::Nothing => Ok(()),
        Action::Delete { propagation, unblock } => {
            for dependent in unblock.iter().filter_map(|key| graph.get(key)) {
                rewrite(api, dependent, |object| unblock_owner(object, &item.uid)).await?;
            }
            delete(api, item, propagation).await
        }
        Action::Unlink(owners) => rewrite(api, item, |object| unlink(object, &owners)).await,
        Action::Release(finalizer) => rewrite(api, item, |object| release(object, finalizer)).await,
        Action::Orphan(dependents) => {
            let owner = [item.uid.clone()];
            for dependent in dependents.iter().filter_map(|key| graph.get(key)) {
                rewrite(api, dependent, |object| unlink(object, &owner)).await?;
            }
            rewrite(api, item, |object| release(object, graph::ORPHAN)).await
        }
    }
}

async fn delete(api: &Api, item: &Item, propagation: Propagation) -> Result<(), ApiError> {
    let uid = Some(item.uid.clone());
    let options = DeleteOptions { uid, propagation: Some(propagation), ..DeleteOptions::default() };
    let server = User::server();
    match delete_one(api, &server, item.kind, &item.namespace, &item.name, &options).await {
        // Gone, or another of this name by now; or one that is never deleted, whatever it names.
        Err(refusal) if matches!(refusal.code, 403 | 404 | 409) => Ok(()),
        Err(refusal) => Err(refusal),
        Ok(_) => {
            tracing::info!(
                resource = item.kind.plural,
                namespace = item.namespace,
                name = item.name,
                "its owners are gone"
            );
            Ok(())
        }
    }
}

/// Changes an object as it is now, if it is still the same.
async fn rewrite(api: &Api, item: &Item, change: impl Fn(&mut Value)) -> Result<(), ApiError> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let Some(current) = api.cache.get(&key(item.kind, &item.namespace, &item.name)).await? else {
            return Ok(());
        };
        let mut object = in_form_of(item.kind, &current);
        if text(&object, "/metadata/uid") != item.uid {
            return Ok(());
        }
        change(&mut object);
        match store(api, item.kind, &current, object).await {
            Ok(_) | Err(WriteError::NotFound { .. }) => return Ok(()),
            Err(WriteError::Conflict { .. }) if attempts > 0 => {}
            Err(error) => return Err(ApiError::of_write(error, item.kind, &item.name)),
        }
    }
}

fn unlink(object: &mut Value, owners: &[String]) {
    let fields = metadata::of(object);
    if let Some(references) = fields.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        references.retain(|reference| !owners.iter().any(|uid| string(reference, "uid") == uid));
        if references.is_empty() {
            fields.remove("ownerReferences");
        }
    }
}

fn unblock_owner(object: &mut Value, owner: &str) {
    let references = metadata::of(object).get_mut("ownerReferences").and_then(Value::as_array_mut);
    for reference in references.into_iter().flatten().filter(|r| string(r, "uid") == owner) {
        reference["blockOwnerDeletion"] = false.into();
    }
}

fn release(object: &mut Value, finalizer: &str) {
    let kept: Vec<Value> =
        items(&object["metadata"], "finalizers").iter().filter(|f| *f != finalizer).cloned().collect();
    let fields = metadata::of(object);
    if kept.is_empty() {
        fields.remove("finalizers");
    } else {
        fields.insert("finalizers".to_owned(), kept.into());
    }
}
