//! Rows of events, of either group.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Columns, NAME, cells};
use crate::kinds::text;
use crate::kinds::values::{number, string};

pub(crate) const COLUMNS: Columns = Columns {
    definitions: &[
        Column::text("Last Seen", "The time since the event was last recorded."),
        Column::text("Type", "Normal or Warning."),
        Column::text("Reason", "Why it happened, as one word for programs."),
        Column::text("Object", "What it is about."),
        Column::wide("Subobject", "The part of the object that it is about."),
        Column::wide("Source", "Who reported it."),
        Column::text("Message", "What happened, for people."),
        Column::wide("First Seen", "The time since the event was first recorded."),
        Column { kind: "integer", ..Column::wide("Count", "How often it was recorded.") },
        Column { priority: 1, ..NAME },
    ],
    cells: row,
};

/// The first of two names under which a field is known.
fn either<'a>(event: &'a Value, core: &str, new: &str) -> &'a Value {
    event.get(core).or_else(|| event.get(new)).unwrap_or(&Value::Null)
}

fn row(event: &Value, now: Timestamp) -> Vec<Value> {
    let since = |time: &Value| cells::since(time.as_str().unwrap_or(""), now);
    let event_time = since(&event["eventTime"]);
    let first = match either(event, "firstTimestamp", "deprecatedFirstTimestamp") {
        Value::Null => event_time,
        time => since(time),
    };
    let mut last = match either(event, "lastTimestamp", "deprecatedLastTimestamp") {
        Value::Null => first.clone(),
        time => since(time),
    };
    // An event of the newer API that happened once has no count.
    let mut count = either(event, "count", "deprecatedCount").as_i64().filter(|c| *c != 0).unwrap_or(1);
    if let Some(series) = event.get("series") {
        last = since(&series["lastObservedTime"]);
        count = number(series, "count").unwrap_or(0);
    }
    let object = either(event, "involvedObject", "regarding");
    let message = either(event, "message", "note").as_str().unwrap_or("").trim();
    vec![
        last.into(),
        string(event, "type").into(),
        string(event, "reason").into(),
        target(object).into(),
        string(object, "fieldPath").into(),
        source(event).into(),
        message.into(),
        first.into(),
        count.into(),
        text(event, "/metadata/name").into(),
    ]
}

fn target(object: &Value) -> String {
    let kind = string(object, "kind").to_lowercase();
    match string(object, "name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let source = either(event, "source", "deprecatedSource");
    let controller = either(event, "reportingComponent", "reportingController").as_str().unwrap_or("");
    let (who, place) = match string(source, "component") {
        "" => (controller, string(event, "reportingInstance")),
        component => (component, string(source, "host")),
    };
    if place.is_empty() { who.to_owned() } else { format!("{who}, {place}") }
}
