//! `/debug/flags/v` and `/debug/pprof/` (behaviour.md 35.15).
//!
//! Profiles of that kind are made by Go's runtime, which this program has not: they are answered as Go answers for a profile that it
//! does not know. Where the processor's time goes is shown by perf; how much of it is used, and of memory, stands in the unit's cgroup.

use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::Asked;
use super::reply::{self, Reply};
use crate::logging;

/// How long a body of a few bytes may take.
const BODY: Duration = Duration::from_secs(10);
/// By it `go tool pprof` knows that an error's text is for people.
const GO_PPROF: HeaderName = HeaderName::from_static("x-go-pprof");
const INDEX: &str =
    "/debug/pprof/\n\nProfiles:\n1\tcmdline\n\nThis program is not written in Go and has no other ones.\n";

/// Sets how much is logged, from now until the daemon ends.
pub(super) async fn verbosity(asked: Asked) -> Reply {
    let body = match timeout(BODY, asked.into_body().collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            let why = format!("error reading request body: {error}");
            return reply::text(StatusCode::BAD_REQUEST, why);
        }
        Err(_) => {
            return reply::text(StatusCode::REQUEST_TIMEOUT, format!("no whole request body in {BODY:?}"));
        }
    };
    let text = String::from_utf8_lossy(&body);
    match level(&text).and_then(logging::set_verbosity) {
        Ok(()) => {
            tracing::info!(level = %text, "the log's verbosity was changed");
            reply::text(StatusCode::OK, format!("successfully set klog.logging.verbosity to {text}"))
        }
        Err(why) => {
            reply::text(StatusCode::BAD_REQUEST, format!("failed set klog.logging.verbosity {text}: {why}"))
        }
    }
}

/// As Go reads a number of 32 bits. Below zero is as little as zero.
fn level(text: &str) -> Result<u32, String> {
    let failed = |why: &str| format!("strconv.ParseInt: parsing {text:?}: {why}");
    match text.parse::<i64>() {
        Ok(level) => match i32::try_from(level) {
            Ok(level) => Ok(u32::try_from(level).unwrap_or(0)),
            Err(_) => Err(failed("value out of range")),
        },
        Err(_) => Err(failed("invalid syntax")),
    }
}

/// What there is of Go's profiles: the list of them, and the command line.
pub(super) fn profile(name: &str) -> Reply {
    match name {
        "" => reply::text(StatusCode::OK, INDEX),
        "cmdline" => {
            let words: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
            reply::text(StatusCode::OK, words.join(&0))
        }
        _ => {
            let mut reply = reply::text(StatusCode::NOT_FOUND, "Unknown profile\n");
            reply.headers_mut().insert(GO_PPROF, HeaderValue::from_static("1"));
            reply
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_number_as_go_reads_it() {
        assert_eq!(level("4"), Ok(4));
        assert_eq!(level("-3"), Ok(0));
        assert_eq!(level("+2"), Ok(2));
        assert_eq!(level("x"), Err("strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()));
        assert_eq!(level("4\n"), Err("strconv.ParseInt: parsing \"4\\n\": invalid syntax".to_owned()));
        assert_eq!(
            level("3000000000"),
            Err("strconv.ParseInt: parsing \"3000000000\": value out of range".to_owned())
        );
    }
}
