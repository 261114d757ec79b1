//! An API server for tests that is driven by hand: take the next request, answer it.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

type AnswerBody = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Requests in the order in which they come.
#[derive(Debug)]
pub(crate) struct FakeApi(mpsc::Receiver<Call>);

/// One request that waits for its answer; dropping it breaks the connection.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
    answer: oneshot::Sender<Response<AnswerBody>>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.method, self.path, self.query)
    }
}

/// The events of one watch; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Watch(mpsc::Sender<Value>);

/// A client, and the server that it talks to.
pub(crate) fn api() -> (kube::Client, FakeApi) {
    let (calls, received) = mpsc::channel(64);
    let service = tower::service_fn(move |request: Request<Body>| {
        let calls = calls.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(tower::BoxError::from)?.to_bytes();
            let (answer, answered) = oneshot::channel();
            let query = head.uri.query().unwrap_or_default();
            let call = Call {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: query
                    .split('&')
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .collect(),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                answer,
            };
            calls.send(call).await.map_err(|_| tower::BoxError::from("the server is gone"))?;
            answered.await.map_err(|_| tower::BoxError::from("connection reset"))
        }
    });
    (kube::Client::new(service, "default"), FakeApi(received))
}

impl FakeApi {
    /// The next request.
    pub(crate) async fn next(&mut self) -> Call {
        self.0.recv().await.expect("the test keeps a client")
    }

    /// Whether a request waits already.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.0.is_empty()
    }
}

fn response(
    status: StatusCode,
    stream: BoxStream<'static, Result<Frame<Bytes>, Infallible>>,
) -> Response<AnswerBody> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(StreamBody::new(stream))
        .expect("status and header are valid")
}

impl Call {
    pub(crate) fn is(&self, method: &Method, path: &str) {
        assert_eq!((&self.method, self.path.as_str()), (method, path));
    }

    /// Answers with an object.
    pub(crate) fn ok(self, object: &Value) {
        let frame = Frame::data(Bytes::from(object.to_string()));
        // The caller may have given up meanwhile.
        let _ = self.answer.send(response(StatusCode::OK, futures::stream::iter([Ok(frame)]).boxed()));
    }

    /// Answers with a failure.
    pub(crate) fn fail(self, code: u16, reason: &str) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code, "metadata": {}});
        let frame = Frame::data(Bytes::from(status.to_string()));
        let status = StatusCode::from_u16(code).expect("a status code");
        let _ = self.answer.send(response(status, futures::stream::iter([Ok(frame)]).boxed()));
    }

    /// Answers a list.
    pub(crate) fn list(self, version: &str, items: Value) {
        self.ok(&json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}));
    }

    /// Answers a watch, whose events are then sent by hand.
    pub(crate) fn watch(self) -> Watch {
        assert_eq!(self.query.get("watch").map(String::as_str), Some("true"), "{self:?}");
        let (events, received) = mpsc::channel::<Value>(16);
        let frames = futures::stream::unfold(received, |mut received| async move {
            let event = received.recv().await?;
            Some((Ok(Frame::data(Bytes::from(format!("{event}\n")))), received))
        });
        let _ = self.answer.send(response(StatusCode::OK, frames.boxed()));
        Watch(events)
    }
}

impl Watch {
    pub(crate) async fn send(&self, kind: &str, object: Value) {
        self.0.send(json!({"type": kind, "object": object})).await.expect("the watch is read");
    }
}
