use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

fn told(line: &Value) -> Result<Event<Pod>, EventError> {
    read(line.to_string().as_bytes())
}

#[test]
fn an_event_is_read_whatever_the_order_of_its_fields() {
    let pod = json!({ "metadata": { "name": "p" } });
    for line in [
        format!(r#"{{"type":"ADDED","object":{pod}}}"#),
        format!(r#"{{"object":{pod},"type":"MODIFIED","x":1}}"#),
    ] {
        let event = read::<Pod>(line.as_bytes()).unwrap();
        assert!(
            matches!(&event, Event::Applied(pod) if pod.metadata.name.as_deref() == Some("p")),
            "{event:?}"
        );
    }
    assert!(matches!(told(&json!({ "type": "DELETED", "object": pod })), Ok(Event::Deleted(_))));
    let bookmark = json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": "7" } } });
    assert!(matches!(told(&bookmark), Ok(Event::Bookmark(version)) if version == "7"));
}

#[test]
fn a_failure_is_told_with_its_code() {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "m", "reason": "Expired", "code": 410, "metadata": {} });
    for line in [json!({ "type": "ERROR", "object": status }), status] {
        assert!(matches!(told(&line), Ok(Event::Error(status)) if status.code == 410), "{line}");
    }
}

#[test]
fn a_line_that_is_no_event_is_an_error() {
    for line in [
        json!({ "type": "OTHER", "object": {} }),
        json!({ "type": "ADDED" }),
        json!({ "type": "ADDED", "object": 1 }),
        json!(3),
    ] {
        assert!(matches!(told(&line), Err(EventError::Line(_))), "{line}");
    }
}

#[test]
fn any_line_is_read_without_a_panic() {
    bolero::check!().for_each(|line: &[u8]| {
        let _ = read::<Pod>(line);
        let _ = read::<Pod>(&[br#"{"type":"ADDED","object":"#, line, b"}"].concat());
    });
}
