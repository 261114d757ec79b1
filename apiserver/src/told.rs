//! Events that the server's own tasks write.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Api, timestamp};
use crate::kinds::events::EVENTS;
use crate::kinds::{Kind, text};
use crate::verbs::create::insert;

/// What happened to an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    /// Who tells it, as `node-controller`.
    pub(crate) by: &'static str,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: &'a str,
}

/// Writes an event about an object. One that cannot be written is lost.
pub(crate) async fn tell(api: &Api, kind: &Kind, object: &Value, told: Told<'_>) {
    let event = event(kind, object, told, Timestamp::now());
    if let Err(error) = insert(api, &EVENTS, event, false).await {
        tracing::debug!(reason = told.reason, %error, "an event is lost");
    }
}

fn event(kind: &Kind, object: &Value, told: Told<'_>, now: Timestamp) -> Value {
    let field = |name: &str| text(object, &format!("/metadata/{name}")).to_owned();
    let namespace = field("namespace");
    let mut involved = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.body.kind,
        "name": field("name"),
        "uid": field("uid"),
        "resourceVersion": field("resourceVersion"),
    });
    if !namespace.is_empty() {
        involved["namespace"] = namespace.as_str().into();
    }
    let at = timestamp(now);
    let kept_in = if namespace.is_empty() { "default" } else { &namespace };
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": format!("{}.{:x}", field("name"), now.as_nanosecond()), "namespace": kept_in },
        "involvedObject": involved,
        "reason": told.reason,
        "message": told.message,
        "type": if told.warning { "Warning" } else { "Normal" },
        "source": { "component": told.by },
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    })
}

#[cfg(test)]
mod tests;
