//! `/statusz` and `/flagz`: what runs here, for people as text and for programs as JSON of `config.k8s.io` (behaviour.md 35.16).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use http::header::{ACCEPT, HeaderMap};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Context;
use super::endpoint::{Door, ENDPOINTS};
use super::reply::{self, Reply};
use crate::flags::{KUBERNETES_VERSION, node_version};

const GROUP: &str = "config.k8s.io";
/// Newest first.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
/// What the pages are called after.
const COMPONENT: &str = "kubelet";
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";

/// What a caller can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json(&'static str),
}

/// When the program began, which build it is, and where else to look.
pub(super) fn statusz(context: &Context, headers: &HeaderMap) -> Reply {
    let started = context.about.started;
    let up = Timestamp::now().duration_since(started).as_secs().max(0);
    let roots: BTreeSet<String> = ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.needs.off(&context.config, Door::ReadWrite).is_none())
        .filter_map(|endpoint| endpoint.path.split('/').nth(1))
        .map(|root| format!("/{root}"))
        .collect();
    let roots: Vec<String> = roots.into_iter().collect();
    let emulated = emulated();
    page(headers, "Statusz", |form| match form {
        Form::Text => {
            let began = started.to_zoned(TimeZone::UTC).strftime("%a %b %e %H:%M:%S UTC %Y");
            format!(
                "Started: {began}\nUp: {} hr {:02} min {:02} sec\nBinary version: {}\nEmulation version: {emulated}\nPaths: {}\n",
                up / 3600,
                up / 60 % 60,
                up % 60,
                node_version(),
                roots.join(" "),
            )
            .into()
        }
        Form::Json(_) => json!({
            "startTime": started.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "uptimeSeconds": up,
            // No Go is in it.
            "goVersion": "",
            "binaryVersion": node_version(),
            "emulationVersion": emulated,
            "paths": roots,
        }),
    })
}

/// The flags and what they are set to.
pub(super) fn flagz(context: &Context, headers: &HeaderMap) -> Reply {
    let flags = &context.about.flags;
    page(headers, "Flagz", |form| match form {
        Form::Text => {
            let mut text = String::new();
            for (name, value) in flags {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{name}={value}");
            }
            text.into()
        }
        Form::Json(_) => json!({ "flags": flags }),
    })
}

/// Major and minor version.
fn emulated() -> String {
    let version = KUBERNETES_VERSION.trim_start_matches('v');
    version.rsplit_once('.').map_or(version, |(minor, _)| minor).to_owned()
}

fn page(headers: &HeaderMap, kind: &'static str, content: impl FnOnce(Form) -> Value) -> Reply {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match negotiate(accept, kind) {
        Some(Form::Text) => {
            let name = kind.to_lowercase();
            let content = content(Form::Text);
            let lines = content.as_str().unwrap_or_default();
            reply::text(StatusCode::OK, format!("\n{COMPONENT} {name}\n{WARNING}\n\n{lines}"))
        }
        Some(form @ Form::Json(version)) => {
            let mut value = content(form);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("kind".to_owned(), kind.into());
                fields.insert("apiVersion".to_owned(), format!("{GROUP}/{version}").into());
                fields.insert("metadata".to_owned(), json!({ "name": COMPONENT }));
            }
            let mut reply = reply::json(&value);
            if version != VERSIONS[0] {
                let text =
                    "299 - \"This version of the endpoint is deprecated. Please use a newer version.\"";
                reply.headers_mut().insert("warning", HeaderValue::from_static(text));
            }
            reply
        }
        None => {
            let message = format!(
                "only the following media types are accepted: application/json;g={GROUP};v={};as={kind}, text/plain",
                VERSIONS[0]
            );
            let status = json!({
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": message,
                "reason": "NotAcceptable",
                "code": 406,
            });
            reply::json_with(StatusCode::NOT_ACCEPTABLE, &status)
        }
    }
}

/// The first form of those that the header lists that there is; JSON has to say which kind of object it means. Weights do not count.
fn negotiate(accept: &str, kind: &str) -> Option<Form> {
    if accept.trim().is_empty() {
        return Some(Form::Text);
    }
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next()?.to_ascii_lowercase();
        let (mut group, mut version, mut wanted) = ("", "", "");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "g" => group = value.trim(),
                "v" => version = value.trim(),
                "as" => wanted = value.trim(),
                _ => {}
            }
        }
        let names_object = !(group.is_empty() && version.is_empty() && wanted.is_empty());
        match media.as_str() {
            "text/plain" | "text/*" | "*/*" if !names_object => Some(Form::Text),
            "application/json" | "application/*" | "*/*" if group == GROUP && wanted == kind => {
                VERSIONS.into_iter().find(|known| *known == version).map(Form::Json)
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;
