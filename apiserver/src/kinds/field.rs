//! Errors that name a field, with upstream's wording, and the causes of a `Status` made from them.

use std::fmt;

use serde_json::{Value, json};

/// A path into an object, written as upstream writes it: `spec.containers[0].env[X]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    /// The path of a top-level field.
    pub(crate) fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The path of the whole object.
    pub(crate) fn root() -> Self {
        Self(String::new())
    }

    /// A path of one field without a name, with which upstream speaks of an object as a whole.
    pub(crate) fn unnamed() -> Self {
        Self("[]".to_owned())
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            return Self(name.to_owned());
        }
        Self(format!("{}.{name}", self.0))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of a map, or of a list that is addressed by key.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("<nil>") } else { f.write_str(&self.0) }
    }
}

/// Why a field is refused; the names are those of a `StatusCause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Required,
    Invalid,
    Duplicate,
    NotSupported,
    Forbidden,
    NotFound,
    TooLong,
    TooMany,
}

impl Reason {
    /// The `reason` of a `StatusCause`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotFound => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
        }
    }
}

/// One thing that is wrong with an object. Displays as `path: Reason: value: detail`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub(crate) struct FieldError {
    pub(crate) reason: Reason,
    pub(crate) path: Path,
    /// Without the path.
    pub(crate) message: String,
}

impl FieldError {
    fn new(reason: Reason, path: &Path, message: String) -> Self {
        Self { reason, path: path.clone(), message }
    }

    fn with_detail(reason: Reason, path: &Path, head: String, detail: &str) -> Self {
        let message = if detail.is_empty() { head } else { format!("{head}: {detail}") };
        Self::new(reason, path, message)
    }

    pub(crate) fn required(path: &Path, detail: &str) -> Self {
        Self::with_detail(Reason::Required, path, "Required value".to_owned(), detail)
    }

    pub(crate) fn invalid(path: &Path, value: impl Shown, detail: &str) -> Self {
        Self::with_detail(Reason::Invalid, path, format!("Invalid value: {}", value.shown()), detail)
    }

    pub(crate) fn duplicate(path: &Path, value: impl Shown) -> Self {
        Self::new(Reason::Duplicate, path, format!("Duplicate value: {}", value.shown()))
    }

    pub(crate) fn not_found(path: &Path, value: impl Shown) -> Self {
        Self::new(Reason::NotFound, path, format!("Not found: {}", value.shown()))
    }

    pub(crate) fn not_supported(path: &Path, value: impl Shown, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let detail = format!("supported values: {}", list.join(", "));
        Self::with_detail(
            Reason::NotSupported,
            path,
            format!("Unsupported value: {}", value.shown()),
            &detail,
        )
    }

    pub(crate) fn forbidden(path: &Path, detail: &str) -> Self {
        Self::with_detail(Reason::Forbidden, path, "Forbidden".to_owned(), detail)
    }

    /// A list of `count` items where at most `limit`, more than one, may be.
    pub(crate) fn too_many(path: &Path, count: usize, limit: usize) -> Self {
        Self::new(Reason::TooMany, path, format!("Too many: {count}: must have at most {limit} items"))
    }

    /// `limit` in bytes.
    pub(crate) fn too_long(path: &Path, limit: usize) -> Self {
        Self::new(Reason::TooLong, path, format!("Too long: may not be more than {limit} bytes"))
    }
}

/// How a refused value appears in a message.
pub(crate) trait Shown {
    fn shown(&self) -> String;
}

impl Shown for &str {
    fn shown(&self) -> String {
        quote(self)
    }
}

impl Shown for &String {
    fn shown(&self) -> String {
        quote(self)
    }
}

impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for &Value {
    fn shown(&self) -> String {
        match self {
            Value::String(text) => quote(text),
            other => other.to_string(),
        }
    }
}

/// Longest part of a refused value that is repeated in a message, in bytes.
const SHOWN_LIMIT: usize = 2048;

/// Quoted as Go's %q does for what occurs in practice, and bounded.
pub(crate) fn quote(text: &str) -> String {
    let mut end = text.len().min(SHOWN_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Value::String(text[..end].to_owned()).to_string()
}

/// The message of an `Invalid` status: `Pod "x" is invalid: a`, or with brackets where there is more than one.
/// Kinds of a group other than core are written with it: `Lease.coordination.k8s.io "x" is invalid: ...`.
pub(crate) fn invalid_message(qualified_kind: &str, name: &str, errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let list = match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    format!("{qualified_kind} \"{name}\" is invalid: {list}")
}

/// The `details.causes` of an `Invalid` status.
pub(crate) fn causes(errors: &[FieldError]) -> Value {
    errors
        .iter()
        .map(|e| json!({ "reason": e.reason.as_str(), "message": e.message, "field": e.path.to_string() }))
        .collect()
}
