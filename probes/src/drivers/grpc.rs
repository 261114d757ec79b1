//! gRPC probes (behaviour.md 19.12): one call of `grpc.health.v1.Health/Check` over HTTP/2 in the open.

mod message;

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use http::{Method, Request, Uri};
use percent_encoding::percent_decode;

use super::{MAX_BODY, dial, seconds};
use crate::outcome::Outcome;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// Lists of headers that a server may send, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;

/// The names of gRPC's codes, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// How a call has ended that brought no message.
struct Status {
    code: u32,
    message: String,
}

impl Status {
    const UNKNOWN: u32 = 2;
    const DEADLINE_EXCEEDED: u32 = 4;
    const RESOURCE_EXHAUSTED: u32 = 8;
    const UNIMPLEMENTED: u32 = 12;
    const INTERNAL: u32 = 13;
    const UNAVAILABLE: u32 = 14;

    fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn broken(error: &h2::Error) -> Self {
        Self::new(Self::UNAVAILABLE, error.to_string())
    }
}

/// One attempt.
pub(super) async fn check(host: &str, port: u16, service: &str, timeout: Duration, agent: &str) -> Outcome {
    let authority = dial::authority(host, port);
    let end = tokio::time::Instant::now() + timeout;
    let stream = match tokio::time::timeout_at(end, dial::connect(host, port)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(why)) => {
            return Outcome::Failure(format!("error: failed to connect service at {authority:?}: {why}"));
        }
        Err(_) => {
            let within = seconds(timeout);
            return Outcome::Failure(format!(
                "timeout: failed to connect service {authority:?} within {within}: context deadline exceeded"
            ));
        }
    };
    let asked = async {
        let mut builder = Builder::new();
        builder.max_header_list_size(MAX_HEADERS).enable_push(false);
        let (sender, connection) =
            builder.handshake::<_, Bytes>(stream).await.map_err(|e| Status::broken(&e))?;
        let request = request(&authority, agent).map_err(|e| Status::new(Status::INTERNAL, e.to_string()))?;
        let (mut asked, mut connection) = (pin!(ask(sender, request, service)), pin!(connection));
        tokio::select! {
            biased;
            answer = &mut asked => return answer,
            // The connection makes the answer progress; where it has ended, all that comes is there.
            _ended = &mut connection => {}
        }
        asked.await
    };
    match tokio::time::timeout_at(end, asked).await {
        Ok(Ok(health)) => judged(health),
        Ok(Err(status)) => failed(&status, timeout),
        Err(_) => failed(&Status::new(Status::DEADLINE_EXCEEDED, ""), timeout),
    }
}

fn judged(health: i32) -> Outcome {
    let told = match health {
        0 => "UNKNOWN".to_owned(),
        1 => return Outcome::Success,
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    };
    Outcome::Failure(format!("service unhealthy (responded with {told:?})"))
}

fn failed(status: &Status, timeout: Duration) -> Outcome {
    let message = &status.message;
    Outcome::Failure(match status.code {
        Status::UNIMPLEMENTED => {
            format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
            )
        }
        Status::DEADLINE_EXCEEDED => {
            format!("timeout: health rpc did not complete within {}", seconds(timeout))
        }
        code => {
            let named = CODES.get(code as usize).map_or_else(|| format!("Code({code})"), |n| (*n).to_owned());
            format!("error: health rpc probe failed: rpc error: code = {named} desc = {message}")
        }
    })
}

fn request(authority: &str, agent: &str) -> Result<Request<()>, http::Error> {
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(PATH).build()?;
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, HeaderValue::from_str(agent)?)
        .body(())
}

/// The health that the server answers.
async fn ask(sender: SendRequest<Bytes>, request: Request<()>, service: &str) -> Result<i32, Status> {
    let mut sender = sender.ready().await.map_err(|e| Status::broken(&e))?;
    let (answer, mut stream) = sender.send_request(request, false).map_err(|e| Status::broken(&e))?;
    // A server may refuse without listening: then its answer says more than this.
    let sent = stream.send_data(message::request(service), true);
    let (head, mut rest) = match (answer.await, sent) {
        (Ok(answer), _) => answer.into_parts(),
        (Err(error), _) => return Err(Status::broken(&error)),
    };
    if head.status != http::StatusCode::OK {
        return Err(Status::new(by_http(head.status.as_u16()), unexpected(head.status)));
    }
    if let Some(status) = status(&head.headers) {
        // Nothing but trailers has come.
        return Err(if status.code == 0 { nothing() } else { status });
    }
    let mut body = Vec::new();
    while let Some(chunk) = rest.data().await {
        let chunk = chunk.map_err(|e| Status::broken(&e))?;
        // Only an end of the stream can be in the way; then nothing more comes.
        let _ = rest.flow_control().release_capacity(chunk.len());
        if body.len() + chunk.len() > MAX_BODY {
            let most = format!("grpc: received message larger than max ({MAX_BODY} bytes)");
            return Err(Status::new(Status::RESOURCE_EXHAUSTED, most));
        }
        body.extend_from_slice(&chunk);
    }
    let trailers = rest.trailers().await.map_err(|e| Status::broken(&e))?.unwrap_or_default();
    match status(&trailers) {
        Some(Status { code: 0, .. }) => {
            message::response(&body).map_err(|e| Status::new(Status::INTERNAL, e))
        }
        Some(status) => Err(status),
        None => Err(Status::new(Status::INTERNAL, "server closed the stream without sending trailers")),
    }
}

fn nothing() -> Status {
    Status::new(Status::INTERNAL, "received no message")
}

fn unexpected(status: http::StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!("unexpected HTTP status code received from server: {} ({reason})", status.as_u16())
}

/// The code that stands for an answer that is no gRPC.
fn by_http(status: u16) -> u32 {
    match status {
        400 => Status::INTERNAL,
        401 => 16,
        403 => 7,
        404 => Status::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => Status::UNAVAILABLE,
        _ => Status::UNKNOWN,
    }
}

fn status(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?.to_str().ok().and_then(|text| text.parse().ok());
    let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    let message = percent_decode(message).decode_utf8_lossy().into_owned();
    Some(Status::new(code.unwrap_or(Status::UNKNOWN), message))
}

#[cfg(test)]
mod tests;
