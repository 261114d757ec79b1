//! The verbs of resources: one path for all kinds, which differ by their descriptors ([`crate::kinds`]) alone.

use serde_json::Value;

use crate::answer::Answer;
use crate::api::{Api, Call, Received};
use crate::kinds::Body;
use crate::request::options::FieldValidation;
use crate::request::{Query, Verb};
use crate::schema;
use crate::status::ApiError;

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod read;
pub(crate) mod update;
pub(crate) mod watch;

/// The types of patches, for refusals.
pub(crate) const PATCH_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// Carries out a verb on a resource or on a part of it.
pub(crate) async fn carry_out(
    api: &std::sync::Arc<Api>,
    call: &Call,
    verb: Verb,
    body: &Received,
) -> Result<Answer, ApiError> {
    match verb {
        Verb::Get => read::get(api, call).await,
        Verb::List => read::list(api, call).await,
        Verb::Watch => watch::start(api, call).await,
        Verb::Create => create::create(api, call, body).await,
        Verb::Update => update::update(api, call, body).await,
        // Its content type says how the body is to be read.
        Verb::Patch => Err(ApiError::unsupported_media_type(PATCH_TYPES)),
        Verb::Delete => delete::delete(api, call, body).await,
        Verb::DeleteCollection => delete::delete_collection(api, call, body).await,
    }
}

/// A body that has been read and checked against its type.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) value: Value,
    /// What a client who is to be warned should hear.
    pub(crate) warnings: Vec<String>,
}

/// Reads a body, and deals with unknown and duplicate fields as the client wishes.
pub(crate) fn read_body(
    body: &Body,
    received: &Received,
    validation: FieldValidation,
) -> Result<Checked, ApiError> {
    let refused = |e: schema::DecodeError| ApiError::bad_request(e.message(body));
    let decoded = schema::decode(&received.bytes, received.syntax).map_err(refused)?;
    let mut value = decoded.value;
    let mut complaints = decoded.duplicates;
    complaints.extend(body.check(&mut value).map_err(refused)?);
    let warnings = complain(validation, complaints, |all| schema::cannot_be_handled(body, &all))?;
    Ok(Checked { value, warnings })
}

/// What becomes of complaints: nothing, warnings, or a refusal.
pub(crate) fn complain(
    validation: FieldValidation,
    complaints: Vec<String>,
    message: impl FnOnce(String) -> String,
) -> Result<Vec<String>, ApiError> {
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            Err(ApiError::bad_request(message(schema::strict_error(&complaints))))
        }
        FieldValidation::Warn => Ok(complaints),
        FieldValidation::Ignore | FieldValidation::Strict => Ok(Vec::new()),
    }
}

/// Puts the namespace of the path into the body, or refuses a body that has another.
pub(crate) fn settle_namespace(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let given = crate::kinds::text(object, "/metadata/namespace");
    if !call.kind.namespaced() {
        return if given.is_empty() {
            Ok(())
        } else {
            // Clients send it along with some objects of the cluster scope; upstream drops it too.
            crate::kinds::metadata::of(object).remove("namespace");
            Ok(())
        };
    }
    if !given.is_empty() && given != call.namespace() {
        let message = format!(
            "the namespace of the provided object does not match the namespace sent on the request ({given}, {})",
            call.namespace()
        );
        return Err(ApiError::bad_request(message));
    }
    crate::kinds::metadata::of(object).insert("namespace".to_owned(), call.namespace().into());
    Ok(())
}

/// Whether a query asks for a watch.
pub(crate) fn is_watch(query: &Query) -> bool {
    query.flag("watch").unwrap_or(false)
}
