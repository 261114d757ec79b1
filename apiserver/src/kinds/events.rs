//! Events, which two groups show: core keeps them, `events.k8s.io` sees the same ones with other field names.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::events::v1::Event as EventV1;
use serde_json::{Map, Value, json};

use super::field::{FieldError, Path};
use super::values::{as_object, default_text, string};
use super::{ALL_VERBS, Behaviour, Body, Kind, NameRule, Scope, Storage, define, names, text};
use crate::table::events::COLUMNS;

pub(crate) static EVENTS: Kind = Kind {
    body: Body { group: "", version: "v1", kind: "Event", define: define::<Event> },
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &CoreEvents,
    columns: COLUMNS,
};

pub(crate) static EVENTS_V1: Kind = Kind {
    body: Body { group: "events.k8s.io", version: "v1", kind: "Event", define: define::<EventV1> },
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::As { kind: || &EVENTS, from_storage, to_storage },
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &EventsV1,
    columns: COLUMNS,
};

/// The names of a field in core and in `events.k8s.io`. All others are the same in both.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(fields: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = fields.remove(from) {
        fields.insert(to.to_owned(), value);
    }
}

/// A core event as one of `events.k8s.io`.
fn from_storage(event: &mut Value) {
    let fields = as_object(event);
    RENAMED.iter().for_each(|(core, new)| rename(fields, core, new));
    fields.insert("apiVersion".to_owned(), "events.k8s.io/v1".into());
}

/// An event of `events.k8s.io` as a core event.
fn to_storage(event: &mut Value) {
    let fields = as_object(event);
    RENAMED.iter().for_each(|(core, new)| rename(fields, new, core));
    fields.insert("apiVersion".to_owned(), "v1".into());
}

/// Longest `reportingInstance`, `action` and `reason`, in bytes.
const NAME_LIMIT: usize = 128;
/// Longest `note`, in bytes.
const NOTE_LIMIT: usize = 1024;
const EVENT_TYPES: &[&str] = &["Normal", "Warning"];

#[derive(Debug)]
struct CoreEvents;

impl Behaviour for CoreEvents {
    fn defaults(&self, event: &mut Value) {
        let fields = as_object(event);
        complete_source(fields, "source", "reportingComponent");
        write_out(fields, ["firstTimestamp", "lastTimestamp"], "source", "reportingComponent");
    }

    fn validate(&self, event: &Value, errors: &mut Vec<FieldError>) {
        about_same_namespace(event, "involvedObject", errors);
        if !string(event, "eventTime").is_empty() {
            reporter(event, "reportingComponent", "message", errors);
        }
    }

    fn field<'a>(&self, event: &'a Value, field: &str) -> Option<Cow<'a, str>> {
        match field {
            "reason" | "type" | "reportingComponent" => Some(string(event, field).into()),
            "source" => Some(source(event, "source", "reportingComponent").into()),
            _ => object_field(event, "involvedObject", field.strip_prefix("involvedObject.")?),
        }
    }
}

#[derive(Debug)]
struct EventsV1;

impl Behaviour for EventsV1 {
    fn defaults(&self, event: &mut Value) {
        let times = ["deprecatedFirstTimestamp", "deprecatedLastTimestamp"];
        write_out(as_object(event), times, "deprecatedSource", "reportingController");
    }

    fn validate(&self, event: &Value, errors: &mut Vec<FieldError>) {
        about_same_namespace(event, "regarding", errors);
        if string(event, "eventTime").is_empty() {
            // What was written through core may lack it; then core's rules hold.
            if string(event, "deprecatedFirstTimestamp").is_empty() {
                errors.push(FieldError::required(&Path::new("eventTime"), ""));
            }
            return;
        }
        reporter(event, "reportingController", "note", errors);
    }

    fn field<'a>(&self, event: &'a Value, field: &str) -> Option<Cow<'a, str>> {
        match field {
            "reason" | "type" | "reportingController" => Some(string(event, field).into()),
            _ => object_field(event, "regarding", field.strip_prefix("regarding.")?),
        }
    }
}

/// Writes out what upstream's type writes though it is empty. `kubectl get events --sort-by=.lastTimestamp` shows nothing at all
/// when no event has the field.
fn write_out(fields: &mut Map<String, Value>, times: [&str; 2], source: &str, controller: &str) {
    for time in times.into_iter().chain(["eventTime"]) {
        fields.entry(time).or_insert(Value::Null);
    }
    fields.entry(source).or_insert_with(|| json!({}));
    for text in [controller, "reportingInstance"] {
        fields.entry(text).or_insert_with(|| "".into());
    }
}

/// Old clients give only `source`, new ones only the reporting fields: each is completed from the other.
fn complete_source(fields: &mut Map<String, Value>, source: &str, controller: &str) {
    let component = fields.get(source).map_or("", |s| string(s, "component")).to_owned();
    if !component.is_empty() {
        default_text(fields, controller, &component);
    }
}

fn source<'a>(event: &'a Value, source: &str, controller: &str) -> &'a str {
    match event.get(source).map_or("", |s| string(s, "component")) {
        "" => string(event, controller),
        component => component,
    }
}

fn object_field<'a>(event: &'a Value, object: &str, field: &str) -> Option<Cow<'a, str>> {
    const SELECTABLE: &[&str] =
        &["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    if !SELECTABLE.contains(&field) {
        return None;
    }
    Some(event.get(object).map_or("", |o| string(o, field)).into())
}

/// An event lives in the namespace of its object; those about objects without a namespace live in `default`.
fn about_same_namespace(event: &Value, object: &str, errors: &mut Vec<FieldError>) {
    let own = text(event, "/metadata/namespace");
    let other = event.get(object).map_or("", |o| string(o, "namespace"));
    let same = if other.is_empty() { matches!(own, "" | "default") } else { own == other };
    if !same {
        let path = Path::new(object).child("namespace");
        errors.push(FieldError::invalid(&path, other, "does not match event.namespace"));
    }
}

/// The fields that the newer API asks for.
fn reporter(event: &Value, controller: &str, note: &str, errors: &mut Vec<FieldError>) {
    let name = string(event, controller);
    let path = Path::new(controller);
    if name.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else {
        errors.extend(names::qualified_name(name).iter().map(|p| FieldError::invalid(&path, name, p)));
    }
    for field in ["reportingInstance", "action", "reason"] {
        let path = Path::new(field);
        match string(event, field) {
            "" => errors.push(FieldError::required(&path, "")),
            text if text.len() > NAME_LIMIT => {
                errors.push(FieldError::invalid(
                    &path,
                    text,
                    &format!("can have at most {NAME_LIMIT} characters"),
                ));
            }
            _ => {}
        }
    }
    if string(event, note).len() > NOTE_LIMIT {
        let detail = format!("can have at most {NOTE_LIMIT} characters");
        errors.push(FieldError::invalid(&Path::new(note), "", &detail));
    }
    let kind = string(event, "type");
    if !EVENT_TYPES.contains(&kind) {
        errors.push(FieldError::invalid(&Path::new("type"), kind, "has invalid value: [Normal Warning]"));
    }
}
