//! The options of the verbs, as `ListOptions`, `CreateOptions`, `DeleteOptions` and their like define them.

use std::time::Duration;

use serde_json::Value;

use super::{Query, QueryError};
use crate::kinds::FieldError;
use crate::kinds::field::Path;
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::ApiError;

/// How a `resourceVersion` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Exact,
    NotOlderThan,
}

/// Options of list, watch and deletecollection.
#[derive(Debug, Clone)]
pub(crate) struct ListOptions {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    /// Only the object of this name.
    pub(crate) name: Option<String>,
    /// 0 for all.
    pub(crate) limit: usize,
    pub(crate) continue_token: Option<String>,
    /// `None` if absent or empty; `Some(0)` for "whatever you have".
    pub(crate) resource_version: Option<u64>,
    pub(crate) version_match: Option<Match>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl ListOptions {
    pub(crate) fn parse(query: &Query, watch: bool) -> Result<Self, ApiError> {
        let selector_error = |e: crate::selector::SelectorError| ApiError::bad_request(e.to_string());
        let mut errors = Vec::new();
        let labels =
            LabelSelector::parse(query.get("labelSelector").unwrap_or("")).map_err(selector_error)?;
        let fields =
            FieldSelector::parse(query.get("fieldSelector").unwrap_or("")).map_err(selector_error)?;
        let limit = query.number("limit")?.unwrap_or(0);
        if limit < 0 {
            errors.push(FieldError::invalid(
                &Path::new("limit"),
                limit,
                "must be greater than or equal to 0",
            ));
        }
        let resource_version = match query.text("resourceVersion") {
            Some(text) => Some(text.parse::<u64>().map_err(|_| bad_version(text))?),
            None => None,
        };
        let version_match = version_match(query, &mut errors);
        let timeout = match query.number("timeoutSeconds")? {
            Some(seconds) => u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs),
            None => None,
        };
        let options = Self {
            labels,
            fields,
            name: None,
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: query.text("continue").map(str::to_owned),
            resource_version,
            version_match,
            timeout,
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events: query.flag("sendInitialEvents"),
        };
        options.check(watch, &mut errors);
        if errors.is_empty() { Ok(options) } else { Err(ApiError::invalid_options("ListOptions", &errors)) }
    }

    /// What upstream does not allow to be combined.
    fn check(&self, watch: bool, errors: &mut Vec<FieldError>) {
        let match_path = Path::new("resourceVersionMatch");
        let mut forbid = |path: &Path, detail: &str| errors.push(FieldError::forbidden(path, detail));
        if let (Some(_), true) = (self.send_initial_events, watch) {
            if self.version_match != Some(Match::NotOlderThan) {
                let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                forbid(&match_path, detail);
            }
            if self.send_initial_events == Some(true) && !self.bookmarks {
                let detail = "sendInitialEvents requires setting allowWatchBookmarks to true";
                forbid(&Path::new("allowWatchBookmarks"), detail);
            }
            return;
        }
        if self.send_initial_events.is_some() {
            forbid(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
        }
        if self.version_match.is_none() {
            return;
        }
        if watch {
            forbid(&match_path, "resourceVersionMatch is forbidden for watch");
        } else if self.resource_version.is_none() {
            forbid(&match_path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        } else if self.continue_token.is_some() {
            forbid(&match_path, "resourceVersionMatch is forbidden when continue is provided");
        } else if self.version_match == Some(Match::Exact) && self.resource_version == Some(0) {
            let detail = "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
            forbid(&match_path, detail);
        }
    }
}

/// A `resourceVersion` that is no number.
fn bad_version(text: &str) -> ApiError {
    let detail = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
    ApiError::bad_request(format!("resourceVersion: Invalid value: {text:?}: {detail}"))
}

fn version_match(query: &Query, errors: &mut Vec<FieldError>) -> Option<Match> {
    match query.text("resourceVersionMatch")? {
        "Exact" => Some(Match::Exact),
        "NotOlderThan" => Some(Match::NotOlderThan),
        other => {
            let path = Path::new("resourceVersionMatch");
            errors.push(FieldError::not_supported(&path, other, &["Exact", "NotOlderThan", ""]));
            None
        }
    }
}

/// The one version that a `get` may ask for. The cache is never older than what was acknowledged, so only a version that
/// does not exist yet matters.
pub(crate) fn get_version(query: &Query) -> Result<Option<u64>, ApiError> {
    query.text("resourceVersion").map(|text| text.parse().map_err(|_| bad_version(text))).transpose()
}

/// What happens with fields that a kind does not have, and with duplicate ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
}

/// Longest `fieldManager`, in bytes.
const FIELD_MANAGER_LIMIT: usize = 128;

impl WriteOptions {
    /// `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`, for messages.
    pub(crate) fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let field_validation = match query.text("fieldValidation") {
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            None | Some("Warn") => FieldValidation::Warn,
            Some(other) => {
                let path = Path::new("fieldValidation");
                errors.push(FieldError::not_supported(&path, other, &["Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        if query.text("fieldManager").is_some_and(|m| m.len() > FIELD_MANAGER_LIMIT) {
            errors.push(FieldError::too_long(&Path::new("fieldManager"), FIELD_MANAGER_LIMIT));
        }
        if errors.is_empty() {
            Ok(Self { dry_run, field_validation })
        } else {
            Err(ApiError::invalid_options(kind, &errors))
        }
    }
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> bool {
    let mut all = false;
    for value in values.filter(|v| !v.is_empty()) {
        match value {
            "All" => all = true,
            other => errors.push(FieldError::not_supported(&Path::new("dryRun"), other, &["All"])),
        }
    }
    all
}

/// What becomes of the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They stay, and forget it.
    Orphan,
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
}

/// Options of delete and deletecollection: in the query, or as a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    /// Never negative.
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
    /// As the object's finalizers say, if not given.
    pub(crate) propagation: Option<Propagation>,
}

impl DeleteOptions {
    pub(crate) fn of_query(query: &Query) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let options = Self {
            grace_seconds: query.number("gracePeriodSeconds")?.map(grace),
            dry_run: dry_run(query.all("dryRun"), &mut errors),
            ..Self::default()
        };
        let policy = query.text("propagationPolicy");
        options.checked(policy, query.flag("orphanDependents"), errors)
    }

    /// Reads a `DeleteOptions` object whose types have been checked.
    pub(crate) fn of_body(body: &Value) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let dry_runs = body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let options = Self {
            grace_seconds: body["gracePeriodSeconds"].as_i64().map(grace),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            dry_run: dry_run(dry_runs, &mut errors),
            propagation: None,
        };
        options.checked(body["propagationPolicy"].as_str(), body["orphanDependents"].as_bool(), errors)
    }

    fn checked(
        mut self,
        policy: Option<&str>,
        orphan: Option<bool>,
        mut errors: Vec<FieldError>,
    ) -> Result<Self, ApiError> {
        let path = Path::new("propagationPolicy");
        match policy {
            Some(_) if orphan.is_some() => {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::invalid(&path, policy.unwrap_or_default(), detail));
            }
            None => {
                let older = |orphan| if orphan { Propagation::Orphan } else { Propagation::Background };
                self.propagation = orphan.map(older);
            }
            Some("Foreground") => self.propagation = Some(Propagation::Foreground),
            Some("Background") => self.propagation = Some(Propagation::Background),
            Some("Orphan") => self.propagation = Some(Propagation::Orphan),
            Some(other) => {
                let known = &["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(&path, other, known));
            }
        }
        if errors.is_empty() { Ok(self) } else { Err(ApiError::invalid_options("DeleteOptions", &errors)) }
    }
}

/// Upstream takes a negative period for one second.
fn grace(seconds: i64) -> i64 {
    if seconds < 0 { 1 } else { seconds }
}

#[cfg(test)]
mod tests;
