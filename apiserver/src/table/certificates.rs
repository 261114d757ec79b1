//! The table of certificate signing requests.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, cells};
use crate::kinds::text;

pub(crate) const COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        AGE,
        Column::text("SignerName", "Who is to sign the certificate."),
        Column::text("Requestor", "The user who made the request."),
        Column::text("RequestedDuration", "How long the certificate is to be valid."),
        Column::text("Condition", "What has become of the request."),
    ],
    cells: |request, now| {
        let seconds = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
        vec![
            cells::name(request),
            cells::age(request, now),
            cells::text_or(request, "/spec/signerName", cells::NONE).into(),
            text(request, "/spec/username").into(),
            seconds.map_or_else(|| cells::NONE.to_owned(), podspec::human_duration).into(),
            condition(request).into(),
        ]
    },
};

/// `Pending`, `Approved`, `Denied`, and behind it whether it failed or was issued.
fn condition(request: &Value) -> String {
    let has =
        |kind: &str| cells::list(request, "/status/conditions").iter().any(|c| text(c, "/type") == kind);
    let mut condition = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        condition += ",Failed";
    }
    if !text(request, "/status/certificate").is_empty() {
        condition += ",Issued";
    }
    condition
}
