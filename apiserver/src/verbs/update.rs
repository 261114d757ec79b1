//! update and patch, of a resource and of its sub-resources that are parts of it.

use serde_json::Value;

use super::{Checked, complain, read_body, settle_namespace};
use crate::admission::{self, Operation, Write};
use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received, in_form_of, key};
use crate::cache::Object;
use crate::kinds::{Kind, Part, metadata, text};
use crate::patch::{self, PatchError, PatchType};
use crate::request::options::WriteOptions;
use crate::schema;
use crate::status::ApiError;
use crate::store::WriteError;

/// How often a write whose client named no version is tried again after somebody else was quicker.
const ATTEMPTS: usize = 8;

pub(crate) async fn update(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let mut checked = read_body(&call.kind.body, body, options.field_validation)?;
    settle_name(call, &mut checked.value)?;
    settle_namespace(call, &mut checked.value)?;
    let Checked { value, warnings } = checked;
    let (content, ()) = rewrite(api, call, false, options.dry_run, |_| Ok((value.clone(), ()))).await?;
    Ok(Answer { code: 200, content, warnings })
}

fn settle_name(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    match text(object, "/metadata/name") {
        "" => {
            let message = "the name of the object could not be determined: name must be provided";
            Err(ApiError::bad_request(message))
        }
        name if name != call.name() => {
            let message = format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                call.name()
            );
            Err(ApiError::bad_request(message))
        }
        _ => Ok(()),
    }
}

pub(crate) async fn patch(
    api: &Api,
    call: &Call,
    body: &Received,
    patch_type: PatchType,
) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let refused = |e: schema::DecodeError| ApiError::bad_request(e.to_string());
    let decoded = schema::decode(&body.bytes, body.syntax).map_err(refused)?;
    let duplicates = decoded.duplicates;
    let patch = decoded.value;
    let (content, warnings) = rewrite(api, call, true, options.dry_run, |current| {
        let kind = call.kind;
        let mut patched = patch::apply(kind, patch_type, &patch, current).map_err(of_patch)?;
        let unfit = |e: schema::DecodeError| ApiError::bad_request(e.message(&kind.body));
        let unknown = kind.check(&mut patched).map_err(unfit)?;
        // An unknown field that was there before is not this patch's fault.
        let before = kind.check(&mut current.clone()).unwrap_or_default();
        let complaints =
            duplicates.iter().cloned().chain(unknown.into_iter().filter(|c| !before.contains(c)));
        let warnings = complain(options.field_validation, complaints.collect(), |all| all)?;
        settle_name(call, &mut patched)?;
        settle_namespace(call, &mut patched)?;
        Ok((patched, warnings))
    })
    .await?;
    Ok(Answer { code: 200, content, warnings })
}

fn of_patch(error: PatchError) -> ApiError {
    match error {
        PatchError::Malformed(message) => ApiError::bad_request(message),
        PatchError::Unprocessable(message) => ApiError::new(422, "Invalid", message),
        PatchError::TooLarge(message) => ApiError::new(413, "RequestEntityTooLarge", message),
    }
}

/// Reads the object, has it changed, and writes it if nobody else did meanwhile; else again, unless the change names the version
/// that it is for.
async fn rewrite<T>(
    api: &Api,
    call: &Call,
    patching: bool,
    dry_run: bool,
    mut change: impl FnMut(&Value) -> Result<(Value, T), ApiError> + Send,
) -> Result<(Content, T), ApiError> {
    let (kind, name) = (call.kind, call.name());
    let part = Part::of(call.subresource()).ok_or_else(ApiError::no_such_resource)?;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let current = api.stored(kind, call.namespace(), name).await?;
        let old = in_form_of(kind, &current);
        let (new, extra) = change(&old)?;
        // A patched object carries the version that was just read; if the patch itself names one, it fits no other.
        let named = !patching && !text(&new, "/metadata/resourceVersion").is_empty();
        check_identity(kind, name, &new, &old)?;
        match replace(api, call, part, &current, &old, new, dry_run).await {
            Err(WriteError::Conflict { .. }) if !named && attempts > 0 => {}
            Ok(content) => return Ok((content?, extra)),
            Err(error) => return Err(ApiError::of_write(error, kind, name)),
        }
    }
}

/// A version or a UID in the object is a condition.
fn check_identity(kind: &Kind, name: &str, new: &Value, old: &Value) -> Result<(), ApiError> {
    let version = text(new, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(old, "/metadata/resourceVersion") {
        if version.parse::<u64>().is_err() {
            let path = crate::kinds::field::Path::new("metadata").child("resourceVersion");
            let error = crate::kinds::FieldError::invalid(&path, version, "must be a number");
            return Err(ApiError::invalid(kind, name, &[error]));
        }
        return Err(ApiError::modified(kind, name));
    }
    let (uid, found) = (text(new, "/metadata/uid"), text(old, "/metadata/uid"));
    if !uid.is_empty() && uid != found {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
        return Err(ApiError::conflict(kind, name, &why));
    }
    Ok(())
}

/// Validates a change and writes it. The outer error is the store's, the inner one a refusal.
async fn replace(
    api: &Api,
    call: &Call,
    part: Part,
    current: &Object,
    old: &Value,
    mut new: Value,
    dry_run: bool,
) -> Result<Result<Content, ApiError>, WriteError> {
    let (kind, name) = (call.kind, text(old, "/metadata/name"));
    kind.prepare_update(&mut new, old, part);
    let operation = Operation::Update { old, new: &new };
    let write = Write { user: &call.user, kind, subresource: call.subresource(), name, operation };
    if let Err(refusal) = admission::admit(api, &write) {
        return Ok(Err(refusal));
    }
    let _allocation = if part == Part::Main { api.allocation(kind).await } else { None };
    if part == Part::Main
        && let Err(error) = kind.admit_update(&mut new, old, api)
    {
        return Ok(Err(ApiError::of_admission(error, kind, name)));
    }
    let errors = kind.validate_update(&new, old, part);
    if !errors.is_empty() {
        return Ok(Err(ApiError::invalid(kind, name, &errors)));
    }
    if let Err(error) = kind.permit_update(&new, old, part, api) {
        return Ok(Err(ApiError::of_admission(error, kind, name)));
    }
    if dry_run {
        return Ok(Ok(Content::Object(new)));
    }
    store(api, kind, current, new).await.map(Ok)
}

/// Writes a changed object; one that only waited for its last finalizer goes instead.
pub(crate) async fn store(
    api: &Api,
    kind: &'static Kind,
    current: &Object,
    mut new: Value,
) -> Result<Content, WriteError> {
    let done = finished(&new);
    kind.to_storage(&mut new);
    metadata::of(&mut new).remove("resourceVersion");
    let namespace = text(&new, "/metadata/namespace").to_owned();
    let key = key(kind, &namespace, text(&new, "/metadata/name"));
    if done {
        api.cache.delete(&key, current.revision()).await?;
        kind.take_from_storage(&mut new);
        return Ok(Content::Object(new));
    }
    api.cache.update(&key, new, current.revision()).await.map(Content::Stored)
}

/// Whether an object that is being deleted has nothing left to wait for.
fn finished(object: &Value) -> bool {
    let none = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    !text(object, "/metadata/deletionTimestamp").is_empty()
        && grace == 0
        && none("/metadata/finalizers")
        && none("/spec/finalizers")
}
