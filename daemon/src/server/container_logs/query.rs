//! The query of a log request, read as a kubelet reads it.

use std::borrow::Cow;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use streams::logs::{LogOptions, Select, Stamp};
use thiserror::Error;

/// What of which run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) previous: bool,
    pub(super) options: LogOptions,
}

/// A query that cannot be answered; the texts are a kubelet's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum QueryError {
    /// A value is not of its type.
    #[error("{{\"message\": \"Unable to decode query.\"}}")]
    Undecodable(&'static str),
    /// A value may not be.
    #[error("{{\"message\": \"Invalid request.\"}}")]
    Invalid { name: &'static str, rule: &'static str },
}

impl QueryError {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Undecodable(_) => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// Unknown names are left alone. `may_select` says whether a stream can be chosen: the gate `PodLogsQuerySplitStreams`.
pub(super) fn parse(query: &str, may_select: bool) -> Result<Wanted, QueryError> {
    parse_at(query, may_select, Timestamp::now())
}

pub(super) fn parse_at(query: &str, may_select: bool, now: Timestamp) -> Result<Wanted, QueryError> {
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = query
        .split('&')
        // As Go: such a pair is not there.
        .filter(|pair| !pair.contains(';') && has_whole_escapes(pair))
        .flat_map(|pair| form_urlencoded::parse(pair.as_bytes()))
        .collect();
    // Of several values the first counts.
    let first = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_ref());
    let number = |name: &'static str, value: Option<&str>| {
        value.map(|v| v.parse::<i64>().map_err(|_| QueryError::Undecodable(name))).transpose()
    };

    let tail = match first("tail").filter(|tail| !tail.is_empty()) {
        Some("all") => None,
        Some(tail) => Some(tail),
        None => first("tailLines"),
    };
    let tail = number("tailLines", tail)?;
    let limit_bytes = number("limitBytes", first("limitBytes"))?;
    let since_seconds = number("sinceSeconds", first("sinceSeconds"))?;
    let since_time = first("sinceTime").map(time).transpose()?;

    let invalid = |name, rule| QueryError::Invalid { name, rule };
    let tail = tail
        .map(|n| u64::try_from(n).map_err(|_| invalid("tailLines", "must be greater than or equal to 0")))
        .transpose()?;
    let limit_bytes = limit_bytes
        .map(|n| {
            let bytes = u64::try_from(n).ok().filter(|n| *n > 0);
            bytes.ok_or(invalid("limitBytes", "must be greater than 0"))
        })
        .transpose()?;
    let since = match (since_seconds, since_time) {
        (Some(_), Some(_)) => {
            return Err(invalid("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        (Some(seconds), None) if seconds < 1 => {
            return Err(invalid("sinceSeconds", "must be greater than 0"));
        }
        // Before the beginning of time is all of it.
        (Some(seconds), None) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, time) => time.flatten(),
    };
    let select = match first("stream") {
        None => Select::All,
        Some(_) if !may_select => return Err(invalid("stream", "may not be specified")),
        Some("All") => Select::All,
        Some("Stdout") => Select::Stdout,
        Some("Stderr") => Select::Stderr,
        Some(_) => return Err(invalid("stream", "supported values: \"All\", \"Stderr\", \"Stdout\"")),
    };
    if select != Select::All && tail.is_some() {
        return Err(invalid("", "`tailLines` and specific `stream` are mutually exclusive for now"));
    }
    Ok(Wanted {
        previous: first("previous").is_some_and(truth),
        options: LogOptions {
            follow: first("follow").is_some_and(truth),
            timestamps: first("timestamps").is_some_and(truth),
            tail,
            since,
            limit_bytes,
            select,
        },
    })
}

/// Everything but these two is true, also nothing.
fn truth(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// No value is no bound.
fn time(value: &str) -> Result<Option<Timestamp>, QueryError> {
    if value.is_empty() {
        return Ok(None);
    }
    let stamp = Stamp::parse(value.as_bytes()).and_then(|stamp| stamp.instant());
    stamp.map(Some).ok_or(QueryError::Undecodable("sinceTime"))
}

fn has_whole_escapes(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|rest| rest.as_bytes().get(..2).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)))
}
