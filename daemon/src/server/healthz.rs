//! `/healthz` and its parts (behaviour.md 35.2, 35.19).

use std::fmt::Write as _;

use http::StatusCode;
use http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};

use super::Context;
use super::endpoint::Door;
use super::reply::{self, Reply};

/// One thing that has to be well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// An answer comes.
    Ping,
    /// Lines of the log get out. They are written before anything goes on, so that an answer shows it.
    Log,
    /// The supervisor, the node task and the runtime answer: what systemd's watchdog is fed for.
    Syncloop,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Log => "log",
            Self::Syncloop => "syncloop",
        }
    }

    fn result(self, context: &Context) -> Result<(), String> {
        let result = match self {
            Self::Ping | Self::Log => Ok(()),
            Self::Syncloop => context.health.borrow().map_err(|ill| ill.to_string()),
        };
        context.metrics.slis().checked(self.name(), result.is_ok());
        result
    }
}

/// A kubelet's healthz port knows of itself only.
fn checks(door: Door) -> &'static [Check] {
    match door {
        Door::Healthz => &[Check::Ping],
        Door::ReadWrite | Door::ReadOnly | Door::Local => &[Check::Ping, Check::Log, Check::Syncloop],
    }
}

/// All checks but those that the query excludes; details where one has failed or the query asks for them. Why one has failed is
/// told at its own path only.
pub(super) fn all(context: &Context, door: Door, query: &str) -> Reply {
    let asked = |name: &str| form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == name);
    let mut excluded: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == "exclude")
        .map(|(_, name)| name)
        .collect();
    let mut lines = String::new();
    let mut failed = false;
    for check in checks(door) {
        let name = check.name();
        // Writing to a string does not fail.
        let _ = if excluded.iter().any(|excluded| excluded == name) {
            excluded.retain(|excluded| excluded != name);
            writeln!(lines, "[+]{name} excluded: ok")
        } else if check.result(context).is_ok() {
            writeln!(lines, "[+]{name} ok")
        } else {
            failed = true;
            writeln!(lines, "[-]{name} failed: reason withheld")
        };
    }
    if !excluded.is_empty() {
        excluded.sort();
        excluded.dedup();
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let _ = writeln!(
            lines,
            "warn: some health checks cannot be excluded: no matches for {}",
            names.join(",")
        );
    }
    if failed {
        return reply::error(StatusCode::INTERNAL_SERVER_ERROR, format_args!("{lines}healthz check failed"));
    }
    let text = if asked("verbose") { format!("{lines}healthz check passed\n") } else { "ok".to_owned() };
    let mut reply = reply::text(StatusCode::OK, text);
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// One check by its name.
pub(super) fn one(context: &Context, door: Door, name: &str) -> Reply {
    match checks(door).iter().find(|check| check.name() == name).map(|check| check.result(context)) {
        None => reply::not_found(),
        Some(Ok(())) => reply::text(StatusCode::OK, "ok"),
        Some(Err(why)) => {
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, format_args!("internal server error: {why}"))
        }
    }
}

#[cfg(test)]
mod tests;
