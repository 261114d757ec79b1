//! get and list.

use serde_json::Value;

use crate::answer::{Answer, Content};
use crate::api::{Api, Call, prefix};
use crate::cache::{Continue, ListError, ListQuery, ReadAt};
use crate::kinds::{Kind, Storage, text};
use crate::request::options::{ListOptions, Match, get_version};
use crate::status::ApiError;

pub(crate) async fn get(api: &Api, call: &Call) -> Result<Answer, ApiError> {
    if let Some(version) = get_version(&call.query)?
        && version > api.cache.revision()
    {
        return Err(ApiError::revision_too_large(version, api.cache.revision()));
    }
    let object = api.stored(call.kind, call.namespace(), call.name()).await?;
    Ok(Answer::new(200, Content::Stored(object)))
}

pub(crate) async fn list(api: &Api, call: &Call) -> Result<Answer, ApiError> {
    let options = ListOptions::parse(&call.query, false)?;
    let listing = select(api, call.kind, call.namespace(), &options).await?;
    Ok(Answer::new(200, Content::List(listing)))
}

/// The objects that the options select.
pub(crate) async fn select(
    api: &Api,
    kind: &'static Kind,
    namespace: &str,
    options: &ListOptions,
) -> Result<crate::cache::Listing, ApiError> {
    check_selectors(kind, options)?;
    let at = match (&options.continue_token, options.resource_version, options.version_match) {
        (Some(_), Some(version), _) if version > 0 => {
            let message = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(message));
        }
        (Some(token), _, _) => {
            ReadAt::Continue(Continue::parse(token).map_err(|e| ApiError::bad_request(e.to_string()))?)
        }
        (None, None, _) => ReadAt::Latest,
        (None, Some(0), _) => ReadAt::Any,
        (None, Some(version), Some(Match::Exact)) => ReadAt::Exact(version),
        // With a limit and no match upstream takes the version for an exact one.
        (None, Some(version), None) if options.limit > 0 => ReadAt::Exact(version),
        (None, Some(version), _) => ReadAt::NotOlderThan(version),
    };
    let query = ListQuery { prefix: prefix(kind, namespace), limit: options.limit, at };
    let filter = |object: &Value| matches(kind, options, object);
    let filter: Option<&(dyn Fn(&Value) -> bool + Sync)> =
        if options.labels.is_empty() && options.fields.is_empty() { None } else { Some(&filter) };
    api.cache.list(&query, filter).await.map_err(of_list)
}

fn of_list(error: ListError) -> ApiError {
    match error {
        ListError::Expired { .. } => ApiError::expired(error.to_string()),
        ListError::ContinueExpired { ref fresh } => {
            let mut refusal = ApiError::expired(error.to_string());
            refusal.continue_token = Some(fresh.clone());
            refusal
        }
        ListError::TooLarge { requested, current } => ApiError::revision_too_large(requested, current),
        ListError::Failed(error) => error.into(),
    }
}

/// Refuses selectors of fields that the kind does not have.
pub(crate) fn check_selectors(kind: &Kind, options: &ListOptions) -> Result<(), ApiError> {
    kind.check_fields(&options.fields).map_err(|e| ApiError::bad_request(e.to_string()))
}

/// Whether a stored object is selected.
pub(crate) fn matches(kind: &Kind, options: &ListOptions, stored: &Value) -> bool {
    if options.name.as_deref().is_some_and(|name| text(stored, "/metadata/name") != name) {
        return false;
    }
    if !options.labels.matches(stored) {
        return false;
    }
    if options.fields.is_empty() {
        return true;
    }
    if let Storage::As { .. } = kind.storage {
        let mut object = stored.clone();
        kind.take_from_storage(&mut object);
        return kind.matches_fields(&options.fields, &object);
    }
    kind.matches_fields(&options.fields, stored)
}
