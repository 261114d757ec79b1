//! Requests stay as long as somebody may want them.

use serde_json::{Value, json};

use super::is_due;

fn request(conditions: &[(&str, &str)], certificate: Option<&str>) -> Value {
    let conditions: Vec<Value> =
        conditions.iter().map(|(kind, time)| json!({ "type": kind, "lastUpdateTime": time })).collect();
    let mut request = json!({
        "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" },
        "status": { "conditions": conditions },
    });
    if let Some(certificate) = certificate {
        request["status"]["certificate"] = certificate.into();
    }
    request
}

#[test]
fn answered_ones_stay_an_hour_and_others_a_day() {
    let decided = "2026-01-01T10:00:00Z";
    let cases = [
        (request(&[], None), "2026-01-02T00:00:00Z", false),
        (request(&[], None), "2026-01-02T00:00:01Z", true),
        (request(&[("Denied", decided)], None), "2026-01-01T11:00:00Z", false),
        (request(&[("Denied", decided)], None), "2026-01-01T11:00:01Z", true),
        (request(&[("Approved", decided), ("Failed", decided)], None), "2026-01-01T11:00:01Z", true),
        (request(&[("Approved", decided)], Some("eA==")), "2026-01-01T11:00:00Z", false),
        (request(&[("Approved", decided)], Some("eA==")), "2026-01-01T11:00:01Z", true),
        // Approved, and for a signer that has not come yet.
        (request(&[("Approved", decided)], None), "2026-01-01T23:00:00Z", false),
        (request(&[("Approved", decided)], None), "2026-01-02T01:00:00Z", true),
    ];
    for (request, now, expected) in cases {
        assert_eq!(is_due(&request, now.parse().unwrap()), expected, "{now} {request}");
    }
}
