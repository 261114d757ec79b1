//! Responses.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
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

pub(super) fn json<T: Serialize>(value: &T) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(StatusCode::OK, JSON, Full::new(Bytes::from(body)).boxed_unsync()),
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
