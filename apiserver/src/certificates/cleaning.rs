//! How long certificate signing requests stay (as upstream).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::condition;
use crate::kinds::text;
use crate::kinds::values::string;
use crate::pki::signing::end_of;

/// Answered ones: whoever waits for the answer has it.
const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
/// Those that wait for somebody.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// Whether a request may go.
pub(super) fn is_due(request: &Value, now: Timestamp) -> bool {
    let older = |time: &str, limit: SignedDuration| {
        time.parse::<Timestamp>().is_ok_and(|since| now.duration_since(since) > limit)
    };
    let said_before = |kind: &str, limit| {
        condition(request, kind).is_some_and(|c| older(string(c, "lastUpdateTime"), limit))
    };
    let certificate = STANDARD.decode(text(request, "/status/certificate")).unwrap_or_default();
    if !certificate.is_empty() {
        let end = std::str::from_utf8(&certificate).ok().and_then(end_of);
        return said_before("Approved", ANSWERED) || end.is_some_and(|end| end < now);
    }
    said_before("Denied", ANSWERED)
        || said_before("Failed", ANSWERED)
        || older(text(request, "/metadata/creationTimestamp"), PENDING)
}

#[cfg(test)]
mod tests;
