//! Responses.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::Serialize;

/// A body that never fails: a stream that breaks ends.
pub(super) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    with_type(status, PLAIN, Full::new(text.into()).boxed_unsync())
}

/// As Go's `http.Error` writes it.
pub(super) fn error(status: StatusCode, why: impl std::fmt::Display) -> Reply {
    let mut reply = text(status, format!("{why}\n"));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

pub(super) fn not_found() -> Reply {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

pub(super) fn wrong_method(methods: &[&str]) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
        reply.headers_mut().insert(ALLOW, methods);
    }
    reply
}

/// Sends the caller to the same path with a slash at its end.
pub(super) fn with_slash(uri: &Uri) -> Reply {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut reply = text(StatusCode::MOVED_PERMANENTLY, "");
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

/// Without a body, and without a word about its type.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *reply.status_mut() = status;
    reply
}

/// Whatever it is, called JSON as a kubelet does; nothing has no type.
pub(super) fn raw_json(bytes: Vec<u8>) -> Reply {
    if bytes.is_empty() {
        return empty(StatusCode::OK);
    }
    with_type(StatusCode::OK, JSON, Full::new(Bytes::from(bytes)).boxed_unsync())
}

pub(super) fn json<T: Serialize>(value: &T) -> Reply {
    json_with(StatusCode::OK, value)
}

pub(super) fn json_with<T: Serialize>(status: StatusCode, value: &T) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(status, JSON, Full::new(Bytes::from(body)).boxed_unsync()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the answer: {error}\n")),
    }
}

pub(super) fn metrics(written: Result<String, prometheus::Error>) -> Reply {
    match written {
        Ok(body) => with_type(
            StatusCode::OK,
            crate::metrics::CONTENT_TYPE,
            Full::new(Bytes::from(body)).boxed_unsync(),
        ),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the metrics: {error}\n")),
    }
}

/// Series that are written as they are taken.
pub(super) fn metrics_stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Reply {
    let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    with_type(StatusCode::OK, crate::metrics::CONTENT_TYPE, StreamBody::new(frames).boxed_unsync())
}

/// Sent in chunks as they come.
pub(super) fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Reply {
    let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    with_type(StatusCode::OK, PLAIN, StreamBody::new(frames).boxed_unsync())
}

fn with_type(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
