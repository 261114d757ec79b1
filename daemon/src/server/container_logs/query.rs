//! The query of a log request.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use streams::logs::{LogOptions, Select};
use thiserror::Error;

/// What of which run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) previous: bool,
    pub(super) options: LogOptions,
}

/// A query that cannot be answered.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum QueryError {
    #[error("{name}={value:?}: {expected}")]
    Undecodable { name: &'static str, value: String, expected: &'static str },
    #[error("{name}: {rule}")]
    Invalid { name: &'static str, rule: &'static str },
}

impl QueryError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Undecodable { .. } => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// Unknown names are left alone, as the kubelet does.
pub(super) fn parse(query: &str) -> Result<Wanted, QueryError> {
    parse_at(query, Timestamp::now())
}

pub(super) fn parse_at(query: &str, now: Timestamp) -> Result<Wanted, QueryError> {
    let mut wanted = Wanted::default();
    let (mut since_seconds, mut since_time) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.as_ref();
        if value.is_empty() {
            continue;
        }
        match name.as_ref() {
            "follow" => wanted.options.follow = boolean("follow", value)?,
            "previous" => wanted.previous = boolean("previous", value)?,
            "timestamps" => wanted.options.timestamps = boolean("timestamps", value)?,
            "tailLines" | "tail" if value == "all" => wanted.options.tail = None,
            "tailLines" | "tail" => {
                let lines = number("tailLines", value)?;
                let invalid =
                    QueryError::Invalid { name: "tailLines", rule: "must be greater than or equal to 0" };
                wanted.options.tail = Some(u64::try_from(lines).map_err(|_| invalid)?);
            }
            "limitBytes" => {
                let bytes = number("limitBytes", value)?;
                let invalid = QueryError::Invalid { name: "limitBytes", rule: "must be greater than 0" };
                wanted.options.limit_bytes =
                    Some(u64::try_from(bytes).ok().filter(|b| *b > 0).ok_or(invalid)?);
            }
            "sinceSeconds" => since_seconds = Some(number("sinceSeconds", value)?),
            "sinceTime" => since_time = Some(time(value)?),
            "stream" => {
                wanted.options.select = match value {
                    "All" => Select::All,
                    "Stdout" => Select::Stdout,
                    "Stderr" => Select::Stderr,
                    _ => {
                        return Err(QueryError::Invalid {
                            name: "stream",
                            rule: "must be All, Stdout or Stderr",
                        });
                    }
                }
            }
            _ => {}
        }
    }
    wanted.options.since = match (since_seconds, since_time) {
        (Some(_), Some(_)) => {
            let rule = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(QueryError::Invalid { name: "sinceSeconds", rule });
        }
        (Some(seconds), None) if seconds < 1 => {
            return Err(QueryError::Invalid { name: "sinceSeconds", rule: "must be greater than 0" });
        }
        // Before the beginning of time is all of it.
        (Some(seconds), None) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, time) => time,
    };
    if wanted.options.select != Select::All && wanted.options.tail.is_some() {
        let rule = "`tailLines` and specific `stream` are mutually exclusive for now";
        return Err(QueryError::Invalid { name: "tailLines", rule });
    }
    Ok(wanted)
}

fn boolean(name: &'static str, value: &str) -> Result<bool, QueryError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => {
            Err(QueryError::Undecodable { name, value: value.to_owned(), expected: "true or false expected" })
        }
    }
}

fn number(name: &'static str, value: &str) -> Result<i64, QueryError> {
    let failed =
        |_| QueryError::Undecodable { name, value: value.to_owned(), expected: "a whole number expected" };
    value.parse().map_err(failed)
}

fn time(value: &str) -> Result<Timestamp, QueryError> {
    let expected = "a time as in RFC 3339 expected";
    let failed = |_| QueryError::Undecodable { name: "sinceTime", value: value.to_owned(), expected };
    value.parse().map_err(failed)
}
