//! delete and deletecollection: preconditions, grace periods, finalizers.

use futures::{TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;

use super::read;
use super::update::store;
use crate::admission::{self, Operation, Write};
use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received, in_form_of};
use crate::authenticate::User;
use crate::cache::{Listing, Object};
use crate::garbage::graph::{FOREGROUND, ORPHAN};
use crate::kinds::values::items;
use crate::kinds::{Body, Deletion, Kind, define, metadata, text};
use crate::request::options::{DeleteOptions, ListOptions, Propagation};
use crate::status::{ApiError, deleted};
use crate::store::WriteError;

/// How often a delete is tried again after somebody else wrote the object.
const ATTEMPTS: usize = 8;
/// Deletes of one deletecollection that are under way at once.
const CONCURRENT_DELETES: usize = 32;

/// The body of a delete.
const DELETE_OPTIONS: Body = Body {
    group: "",
    version: "v1",
    kind: "DeleteOptions",
    define: define::<k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions>,
};

/// What has become of an object.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is gone; this was its last version.
    Gone(Value),
    /// It stays until its grace period or its finalizers are done.
    Waiting(Content),
}

pub(crate) async fn delete(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = delete_options(call, body)?;
    let outcome = delete_one(api, &call.user, call.kind, call.namespace(), call.name(), &options).await?;
    let content = match outcome {
        Outcome::Waiting(content) => content,
        // Upstream's registries differ in what they return; clients read the UID from either.
        Outcome::Gone(object) if matches!(call.kind.plural, "pods" | "services" | "namespaces") => {
            Content::Object(object)
        }
        Outcome::Gone(object) => {
            Content::Plain(deleted(call.kind, call.name(), text(&object, "/metadata/uid")))
        }
    };
    Ok(Answer::new(200, content))
}

/// The options come in the body or, if there is none, in the query.
pub(crate) fn delete_options(call: &Call, body: &Received) -> Result<DeleteOptions, ApiError> {
    if body.bytes.iter().all(u8::is_ascii_whitespace) {
        return DeleteOptions::of_query(&call.query);
    }
    let mut decoded = crate::schema::decode(&body.bytes, body.syntax)
        .map_err(|e| ApiError::bad_request(e.message(&DELETE_OPTIONS)))?;
    // Clients send their resource's own version along.
    if let Some(fields) = decoded.value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), "v1".into());
        fields.insert("kind".to_owned(), "DeleteOptions".into());
    }
    DeleteOptions::of_body(&decoded.value)
}

/// Deletes one object by the rules of its kind.
pub(crate) async fn delete_one(
    api: &Api,
    user: &User,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Outcome, ApiError> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let current = api.stored(kind, namespace, name).await?;
        let object = in_form_of(kind, &current);
        let operation = Operation::Delete(&object);
        admission::admit(api, &Write { user, kind, subresource: None, name, operation })?;
        check_preconditions(kind, name, &object, options)?;
        let deletion = kind.deletion(&object, options.grace_seconds);
        if let Deletion::Never(why) = deletion {
            return Err(ApiError::forbidden(kind, name, why));
        }
        let object = with_propagation(object, options.propagation);
        match delete_version(api, kind, &current, object, deletion, options.dry_run).await {
            Ok(outcome) => return Ok(outcome),
            Err(WriteError::Conflict { .. }) if attempts > 0 => {}
            Err(error) => return Err(ApiError::of_write(error, kind, name)),
        }
    }
}

/// The object with the finalizer that holds it until its dependents are dealt with, if they are to be dealt with before. What is not said
/// stays as it was.
fn with_propagation(mut object: Value, propagation: Option<Propagation>) -> Value {
    let Some(propagation) = propagation else { return object };
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    let before = items(&object["metadata"], "finalizers");
    let mut after: Vec<Value> = before.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    after.extend(wanted.map(Value::from));
    let fields = metadata::of(&mut object);
    if after.is_empty() {
        fields.remove("finalizers");
    } else {
        fields.insert("finalizers".to_owned(), after.into());
    }
    object
}

/// Refuses what is not the object, or not the version of it, that the caller has in mind.
pub(crate) fn check_preconditions(
    kind: &Kind,
    name: &str,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let conditions = [
        ("UID", &options.uid, text(object, "/metadata/uid")),
        ("ResourceVersion", &options.resource_version, text(object, "/metadata/resourceVersion")),
    ];
    for (what, wanted, found) in conditions {
        if let Some(wanted) = wanted.as_deref().filter(|w| *w != found) {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Err(ApiError::conflict(kind, name, &why));
        }
    }
    Ok(())
}

async fn delete_version(
    api: &Api,
    kind: &'static Kind,
    current: &Object,
    object: Value,
    deletion: Deletion,
    dry_run: bool,
) -> Result<Outcome, WriteError> {
    let has_finalizers =
        object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty());
    let mut marked = object.clone();
    match deletion {
        Deletion::Never(_) => return Ok(Outcome::Waiting(Content::Object(object))),
        Deletion::Now if !has_finalizers => {
            if dry_run {
                return Ok(Outcome::Gone(object));
            }
            let gone = api.cache.delete(current.key(), current.revision()).await?;
            return Ok(Outcome::Gone(in_form_of(kind, &gone)));
        }
        Deletion::Now => metadata::mark_deleted(&mut marked, Timestamp::now(), 0),
        Deletion::Grace(seconds) => metadata::mark_deleted(&mut marked, Timestamp::now(), seconds),
        Deletion::Contents => {
            metadata::mark_deleted(&mut marked, Timestamp::now(), 0);
            metadata::of(&mut marked).remove("deletionGracePeriodSeconds");
            crate::kinds::values::child(&mut marked, "status")
                .insert("phase".to_owned(), "Terminating".into());
        }
    }
    if dry_run || marked == in_form_of(kind, current) {
        return Ok(Outcome::Waiting(Content::Object(marked)));
    }
    store(api, kind, current, marked).await.map(Outcome::Waiting)
}

pub(crate) async fn delete_collection(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = delete_options(call, body)?;
    let list = ListOptions::parse(&call.query, false)?;
    let listing = read::select(api, call.kind, call.namespace(), &list).await?;
    let Listing { revision, objects, next, remaining } = listing;
    let options = &options;
    stream::iter(objects.iter().map(Ok::<_, ApiError>))
        .try_for_each_concurrent(CONCURRENT_DELETES, |object| async move {
            let value = object.value();
            let (namespace, name) = (text(&value, "/metadata/namespace"), text(&value, "/metadata/name"));
            match delete_one(api, &call.user, call.kind, namespace, name, options).await {
                Err(refusal) if refusal.code == 404 => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await?;
    Ok(Answer::new(200, Content::List(Listing { revision, objects, next, remaining })))
}
