//! How namespaces end: their pods are deleted, then everything else in them, then the finalizer `kubernetes` goes, then they do. Until then
//! [`conditions`] say what they wait for.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received, in_form_of, prefix};
use crate::authenticate::User;
use crate::bootstrap::first_namespaces;
use crate::cache::{Freshness, Object, WatchQuery, WatchStart};
use crate::kinds::namespaces::NAMESPACES;
use crate::kinds::pods::PODS;
use crate::kinds::{Kind, Storage, text};
use crate::request::options::{DeleteOptions, WriteOptions};
use crate::status::ApiError;
use crate::store::WriteError;
use crate::verbs::{delete::delete_one, read_body, update::store};

mod conditions;

use conditions::Remaining;

/// How many refusals a namespace tells of.
const FAILURES_LIMIT: usize = 10;
/// How often a namespace that waits for its contents is looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The finalizer that this server takes off.
const FINALIZER: &str = "kubernetes";

/// `namespaces/NAME/finalize`: sets `spec.finalizers`, which nothing else may change.
pub(crate) async fn finalize(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let checked = read_body(&call.kind.body, body, options.field_validation)?;
    let current = api.stored(call.kind, "", call.name()).await?;
    let mut namespace = in_form_of(call.kind, &current);
    let version = text(&checked.value, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(&namespace, "/metadata/resourceVersion") {
        return Err(ApiError::modified(call.kind, call.name()));
    }
    let finalizers = checked.value.pointer("/spec/finalizers").cloned().unwrap_or_else(|| json!([]));
    crate::kinds::values::child(&mut namespace, "spec").insert("finalizers".to_owned(), finalizers);
    let errors = call.kind.validate_create(&namespace);
    if !errors.is_empty() {
        return Err(ApiError::invalid(call.kind, call.name(), &errors));
    }
    let content = if options.dry_run {
        Content::Object(namespace)
    } else {
        let stored = store(api, call.kind, &current, namespace).await;
        stored.map_err(|e| ApiError::of_write(e, call.kind, call.name()))?
    };
    Ok(Answer { code: 200, content, warnings: checked.warnings })
}

/// Takes down the namespaces that are marked, until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    let query = WatchQuery {
        prefix: prefix(&NAMESPACES, ""),
        start: WatchStart::State { freshness: Freshness::Any, end_marker: false },
        bookmark_every: None,
    };
    let mut watcher = match api.cache.watch(query).await {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            // The ticks alone are enough, only slower.
            tracing::warn!(%error, "watching namespaces");
            None
        }
    };
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let lost = tokio::select! {
            // All are cancel-safe: a sweep looks at everything anyway.
            biased;
            () = api.stop.cancelled() => return,
            changed = async {
                match watcher.as_mut() {
                    Some(watcher) => watcher.next_batch().await.is_err(),
                    None => std::future::pending().await,
                }
            } => changed,
            _ = ticks.tick() => false,
        };
        if lost {
            watcher = None;
        }
        for namespace in api.cache.list_cached(&prefix(&NAMESPACES, "")) {
            let value = namespace.value();
            if !text(&value, "/metadata/deletionTimestamp").is_empty()
                && let Err(error) = sweep(&api, &namespace, &value).await
            {
                tracing::warn!(namespace = text(&value, "/metadata/name"), %error, "taking down a namespace");
            }
        }
        // One that was deleted comes back, empty (as upstream).
        if let Err(error) = first_namespaces(&api).await {
            tracing::warn!(%error, "creating a namespace that every cluster has");
        }
    }
}

/// Deletes what is in a namespace, and lets it go when nothing is. Pods go first (as upstream): what they use stays until they are gone.
async fn sweep(api: &Api, namespace: &Object, value: &Value) -> Result<(), ApiError> {
    let finalizers = value.pointer("/spec/finalizers").and_then(Value::as_array);
    if !finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER)) {
        return Ok(());
    }
    let name = text(value, "/metadata/name");
    let mut failures = Vec::new();
    for pods in [true, false] {
        for (kind, object) in
            contents(api, name).into_iter().filter(|(kind, _)| (kind.plural == "pods") == pods)
        {
            let object = object.value();
            if text(&object, "/metadata/deletionTimestamp").is_empty()
                && let Err(refusal) = delete_content(api, kind, name, text(&object, "/metadata/name")).await
            {
                failures.push(format!("{}: {refusal}", kind.qualified_resource()));
            }
        }
        if pods && !api.cache.list_cached(&prefix(&PODS, name)).is_empty() {
            break;
        }
    }
    failures.truncate(FAILURES_LIMIT);
    // While this is held nobody creates anything: what is empty now stays so.
    let _gate = api.namespace_gate.write().await;
    let left: Vec<(&Kind, Arc<Value>)> =
        contents(api, name).into_iter().map(|(kind, object)| (kind, object.value())).collect();
    let mut changed = in_form_of(&NAMESPACES, namespace);
    if left.is_empty() {
        if let Some(finalizers) = changed.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut) {
            finalizers.retain(|f| f != FINALIZER);
        }
    } else {
        let mut remaining = Remaining::of(left.iter().map(|(kind, object)| (*kind, object.as_ref())));
        remaining.failures = failures;
        conditions::set(&mut changed, &remaining, Timestamp::now());
    }
    match store(api, &NAMESPACES, namespace, changed).await {
        // Somebody wrote it: the next sweep sees the new version.
        Ok(_) | Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => Ok(()),
        Err(error) => Err(ApiError::of_write(error, &NAMESPACES, name)),
    }
}

fn contents(api: &Api, namespace: &str) -> Vec<(&'static Kind, Arc<Object>)> {
    let stored = crate::kinds::all().iter().filter(|k| k.namespaced() && matches!(k.storage, Storage::Own));
    let objects = |kind: &&'static Kind| {
        let kind = *kind;
        api.cache.list_cached(&prefix(kind, namespace)).into_iter().map(move |o| (kind, o))
    };
    stored.flat_map(objects).collect()
}

async fn delete_content(api: &Api, kind: &'static Kind, namespace: &str, name: &str) -> Result<(), ApiError> {
    match delete_one(api, &User::server(), kind, namespace, name, &DeleteOptions::default()).await {
        Err(refusal) if refusal.code != 404 => Err(refusal),
        _ => Ok(()),
    }
}
