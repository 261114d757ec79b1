//! From a verb's result to a response: the form (object, table, metadata only) and the format (JSON, YAML) that were negotiated.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::in_form_of;
use crate::cache::{Listing, Object};
use crate::kinds::{Kind, Storage};
use crate::request::media::{Accepted, Form};
use crate::schema::Format;
use crate::status::ApiError;
use crate::table::{self, Include};

/// A response's body. This server's own streams end early instead of failing.
pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;

/// What somebody else answers broke off; the client sees its connection end.
#[derive(Debug, thiserror::Error)]
#[error("the answer breaks off: {0}")]
pub(crate) struct Broken(pub(crate) String);

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What a verb came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) content: Content,
    /// For `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// An object as it is stored.
    Stored(Arc<Object>),
    /// An object in the kind's form that is not stored so.
    Object(Value),
    List(Listing),
    /// A `Status` or a review: the same in whatever form was asked for.
    Plain(Value),
    /// Ready to be sent, such as a watch.
    Stream(Body, &'static str),
}

impl Answer {
    pub(crate) fn new(code: u16, content: Content) -> Self {
        Self { code, content, warnings: Vec::new() }
    }
}

/// Longest text in one `Warning` header and of all of them together, in bytes (as upstream).
const WARNING_LIMIT: usize = 256;
const WARNINGS_LIMIT: usize = 4096;

/// How the objects of one kind are written for one client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presentation {
    pub(crate) kind: &'static Kind,
    pub(crate) accepted: Accepted,
    pub(crate) include: Include,
}

impl Presentation {
    /// The response of an answer.
    pub(crate) fn respond(&self, answer: Answer) -> Response<Body> {
        let (body, content_type) = match answer.content {
            Content::Stream(body, content_type) => (body, content_type),
            Content::Stored(object) if self.verbatim() => (whole(object.to_json()), "application/json"),
            Content::Stored(object) => self.write(&self.single(&in_form_of(self.kind, &object))),
            Content::Object(object) => self.write(&self.single(&object)),
            Content::List(listing) if self.verbatim() => {
                (whole(self.list_verbatim(&listing)), "application/json")
            }
            Content::List(listing) => self.write(&self.list(&listing)),
            Content::Plain(value) => self.write(&value),
        };
        let mut response = response(answer.code, body, content_type);
        let mut total = 0;
        for warning in answer.warnings {
            let text = clipped(&warning, WARNING_LIMIT);
            total += text.len();
            if total > WARNINGS_LIMIT {
                break;
            }
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                response.headers_mut().append(WARNING, value);
            }
        }
        response
    }

    /// Whether stored bytes can be sent as they are.
    fn verbatim(&self) -> bool {
        self.accepted.form == Form::Object
            && self.accepted.format == Format::Json
            && !self.accepted.pretty
            && !matches!(self.kind.storage, Storage::As { .. })
    }

    /// Whether the first event of a watch differs from the others.
    pub(crate) fn has_headers(&self) -> bool {
        self.accepted.form == Form::Table
    }

    fn write(&self, value: &Value) -> (Body, &'static str) {
        (whole(encode(value, self.accepted)), self.accepted.content_type())
    }

    /// One object in the form that was asked for. Objects that are not the kind's own (a `Status`) stay as they are.
    fn single(&self, object: &Value) -> Value {
        match self.accepted.form {
            Form::Object => object.clone(),
            Form::Metadata => metadata_only(object),
            Form::Table => {
                let version = object.pointer("/metadata/resourceVersion").cloned();
                let metadata = version.map_or_else(|| json!({}), |v| json!({ "resourceVersion": v }));
                table::table(self.kind, [object], metadata, self.include, true, Timestamp::now())
            }
        }
    }

    /// One object as it stands in a watch event, in compact JSON.
    pub(crate) fn write_watched(&self, object: &Object, headers: bool, out: &mut Vec<u8>) {
        if self.verbatim() {
            object.write_json(out);
            return;
        }
        let value = in_form_of(self.kind, object);
        let shown = match self.accepted.form {
            Form::Object => value,
            Form::Metadata => metadata_only(&value),
            Form::Table => {
                let metadata = json!({ "resourceVersion": object.revision().to_string() });
                table::table(self.kind, [&value], metadata, self.include, headers, Timestamp::now())
            }
        };
        out.extend(to_json(&shown));
    }

    /// An object that only carries a revision.
    pub(crate) fn bookmark(&self, revision: u64, annotations: Option<Value>) -> Value {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        metadata.insert("creationTimestamp".to_owned(), Value::Null);
        if let Some(annotations) = annotations {
            metadata.insert("annotations".to_owned(), annotations);
        }
        match self.accepted.form {
            Form::Object => {
                json!({ "kind": self.kind.body.kind, "apiVersion": self.kind.api_version(), "metadata": metadata })
            }
            Form::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
            }
            Form::Table => {
                table::table(self.kind, [], metadata.into(), self.include, false, Timestamp::now())
            }
        }
    }

    fn list(&self, listing: &Listing) -> Value {
        let metadata = list_metadata(listing);
        let objects = listing.objects.iter().map(|o| in_form_of(self.kind, o));
        match self.accepted.form {
            Form::Object => json!({
                "kind": format!("{}List", self.kind.body.kind),
                "apiVersion": self.kind.api_version(),
                "metadata": metadata,
                "items": objects.collect::<Vec<Value>>(),
            }),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": objects.map(|o| metadata_only(&o)).collect::<Vec<Value>>(),
            }),
            Form::Table => {
                let objects: Vec<Value> = objects.collect();
                table::table(self.kind, &objects, metadata, self.include, true, Timestamp::now())
            }
        }
    }

    /// A list put together from the stored bytes.
    fn list_verbatim(&self, listing: &Listing) -> Vec<u8> {
        let size: usize = listing.objects.iter().map(|o| o.stored_bytes() + 48).sum();
        let mut out = Vec::with_capacity(size + 256);
        let head = json!({
            "kind": format!("{}List", self.kind.body.kind),
            "apiVersion": self.kind.api_version(),
            "metadata": list_metadata(listing),
        });
        out.extend(to_json(&head));
        // Instead of the closing brace.
        out.pop();
        out.extend_from_slice(b",\"items\":[");
        for (index, object) in listing.objects.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            object.write_json(&mut out);
        }
        out.extend_from_slice(b"]}\n");
        out
    }
}

fn list_metadata(listing: &Listing) -> Value {
    let mut metadata = json!({ "resourceVersion": listing.revision.to_string() });
    if let Some(next) = &listing.next {
        metadata["continue"] = next.as_str().into();
    }
    if let Some(remaining) = listing.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

fn to_json(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON tree has string keys only, so that it can be written")
}

/// A tree in the negotiated format, with a line end.
pub(crate) fn encode(value: &Value, accepted: Accepted) -> Vec<u8> {
    let mut bytes = match accepted.format {
        Format::Json if accepted.pretty => serde_json::to_vec_pretty(value)
            .expect("a JSON tree has string keys only, so that it can be written"),
        Format::Json => to_json(value),
        // A tree that YAML cannot express does not exist; JSON is YAML in any case.
        Format::Yaml => {
            return serde_saphyr::to_string(value).map_or_else(|_| to_json(value), String::into_bytes);
        }
    };
    bytes.push(b'\n');
    bytes
}

fn clipped(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

pub(crate) fn response(code: u16, body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// The response of a refusal.
pub(crate) fn refuse(error: &ApiError, accepted: Accepted) -> Response<Body> {
    let accepted = Accepted { form: Form::Object, ..accepted };
    let mut response =
        response(error.code, whole(encode(&error.to_object(), accepted)), accepted.content_type());
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == 401 {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests;
