//! Refusals, as the `Status` objects that clients know: reason, code, message and details in upstream's words.

use serde_json::{Map, Value, json};

use crate::kinds::{AdmissionError, FieldError, Kind, causes, invalid_message};
use crate::store::{Failure, ReadError, WriteError};

/// Why a request is not carried out; becomes a `Status` with `status: Failure`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) code: u16,
    /// Empty where upstream gives none.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Value>,
    /// A page token with which the client can go on after all.
    pub(crate) continue_token: Option<String>,
}

/// The `details` that say what the request was about. `kind` is a resource (`pods`) except where said otherwise.
fn about(group: &str, kind: &str, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(field.to_owned(), value.into());
        }
    }
    details
}

fn about_object(kind: &Kind, name: &str) -> Option<Value> {
    Some(about(kind.body.group, kind.plural, name).into())
}

impl ApiError {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self {
            details: about_object(kind, name),
            ..Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.qualified_resource()))
        }
    }

    /// A path that means nothing here.
    pub(crate) fn no_such_resource() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(404, "NotFound", "the server could not find the requested resource")
        }
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self {
            details: about_object(kind, name),
            ..Self::new(
                409,
                "AlreadyExists",
                format!("{} \"{name}\" already exists", kind.qualified_resource()),
            )
        }
    }

    /// All random names that were tried are taken.
    pub(crate) fn generated_name_exists(kind: &Kind, name: &str) -> Self {
        let mut error = Self::already_exists(kind, name);
        error.message += ", the server was not able to generate a unique name for the object";
        if let Some(details) = &mut error.details {
            details["retryAfterSeconds"] = 1.into();
        }
        error
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let resource = kind.qualified_resource();
        Self {
            details: about_object(kind, name),
            ..Self::new(
                409,
                "Conflict",
                format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}"),
            )
        }
    }

    /// Somebody else was quicker.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// `name` may be empty.
    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        Self::forbidden_resource(kind.body.group, kind.plural, name, why)
    }

    pub(crate) fn forbidden_resource(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let message = match name {
            "" => format!("{qualified} is forbidden: {why}"),
            name => format!("{qualified} \"{name}\" is forbidden: {why}"),
        };
        Self { details: Some(about(group, resource, name).into()), ..Self::new(403, "Forbidden", message) }
    }

    pub(crate) fn forbidden_path(why: &str) -> Self {
        Self { details: Some(json!({})), ..Self::new(403, "Forbidden", format!("forbidden: {why}")) }
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind(kind.body.group, kind.body.kind, name, errors)
    }

    /// Invalid options: `ListOptions.meta.k8s.io "" is invalid: ...`.
    pub(crate) fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind("meta.k8s.io", kind, "", errors)
    }

    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut details = about(group, kind, name);
        details.insert("causes".to_owned(), causes(errors));
        Self {
            details: Some(details.into()),
            ..Self::new(422, "Invalid", invalid_message(&qualified, name, errors))
        }
    }

    /// The kind exists, but not with this verb.
    pub(crate) fn method_not_supported(group: &str, resource: &str, verb: &str) -> Self {
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let message = format!("{verb} is not supported on resources of kind \"{qualified}\"");
        Self {
            details: Some(about(group, resource, "").into()),
            ..Self::new(405, "MethodNotAllowed", message)
        }
    }

    /// A method that the path does not know at all.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self { details: Some(json!({})), ..Self::new(405, "MethodNotAllowed", message) }
    }

    pub(crate) fn not_acceptable(accepted: &str) -> Self {
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {accepted}"))
    }

    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn body_too_large(limit_bytes: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit_bytes}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// A watch or a page from too long ago.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// A revision that this server has not reached yet; the client is to try again.
    pub(crate) fn revision_too_large(requested: u64, current: u64) -> Self {
        let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
        let message = format!("Timeout: Too large resource version: {requested}, current: {current}");
        Self { details: Some(json!({ "causes": [cause], "retryAfterSeconds": 1 })), ..Self::timeout(message) }
    }

    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        Self {
            details: Some(json!({ "causes": [{ "message": cause }] })),
            ..Self::new(500, "InternalError", format!("Internal error occurred: {cause}"))
        }
    }

    /// An eviction that a disruption budget does not allow now.
    pub(crate) fn violates_budget(cause: &str) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        Self::new(429, "TooManyRequests", message).with_cause("DisruptionBudget", cause)
    }

    pub(crate) fn with_cause(mut self, reason: &str, message: &str) -> Self {
        let details = self.details.get_or_insert_with(|| json!({}));
        details["causes"] = json!([{ "reason": reason, "message": message }]);
        self
    }

    pub(crate) fn with_retry_after(mut self, seconds: u32) -> Self {
        let details = self.details.get_or_insert_with(|| json!({}));
        details["retryAfterSeconds"] = seconds.into();
        self
    }

    /// Seconds after which the client should try again, for the `Retry-After` header.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }

    /// The object that the client gets.
    pub(crate) fn to_object(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = token.as_str().into();
        }
        status
    }
}

/// The answer to a delete that removed the object.
pub(crate) fn deleted(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = about(kind.body.group, kind.plural, name);
    if !uid.is_empty() {
        details.insert("uid".to_owned(), uid.into());
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// The answer to a command that leaves no object behind, such as a binding.
pub(crate) fn success(code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code })
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            // WebDAV's code for it; clients show the message whatever the code.
            Failure::NoSpace { .. } => Self {
                details: Some(
                    json!({ "causes": [{ "message": failure.to_string() }], "retryAfterSeconds": 1 }),
                ),
                ..Self::new(507, "InternalError", format!("Internal error occurred: {failure}"))
            },
            Failure::Closed => Self::unavailable("the server is shutting down").with_retry_after(1),
            other => Self::internal(other),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Compacted { requested, floor } => {
                Self::expired(format!("too old resource version: {requested} ({floor})"))
            }
            ReadError::Future { requested, current } => Self::revision_too_large(requested, current),
            ReadError::Failed(failure) => failure.into(),
        }
    }
}

impl ApiError {
    pub(crate) fn of_admission(error: AdmissionError, kind: &Kind, name: &str) -> Self {
        match error {
            AdmissionError::Forbidden(why) => Self::forbidden(kind, name, &why),
            AdmissionError::Invalid(error) => Self::invalid(kind, name, &[error]),
        }
    }

    /// What a write's failure means for the object of this kind and name.
    pub(crate) fn of_write(error: WriteError, kind: &Kind, name: &str) -> Self {
        match error {
            WriteError::AlreadyExists { .. } => Self::already_exists(kind, name),
            WriteError::NotFound { .. } => Self::not_found(kind, name),
            WriteError::Conflict { .. } => Self::modified(kind, name),
            WriteError::TooLarge { bytes, limit, .. } => {
                let message =
                    format!("Request entity too large: the object has {bytes} bytes, limit is {limit}");
                Self::new(413, "RequestEntityTooLarge", message)
            }
            WriteError::Failed(failure) => failure.into(),
        }
    }
}

#[cfg(test)]
mod tests;
