//! `pods/log`: finds the container and its node, asks the node's kubelet, and passes the stream on.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use hyper::body::Incoming;
use jiff::Timestamp;

use crate::answer::{Answer, Content, whole};
use crate::api::{Api, Call};
use crate::backend::{self, AtBreak};
use crate::connect::location::{self, kubelet_of};
use crate::containers;
use crate::kinds::field::Path;
use crate::kinds::{FieldError, text};
use crate::status::ApiError;

pub(crate) mod websocket;

/// How long a node may take to begin its answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Parameters that the node gets: those that are either given or not, and those with a value.
const FLAGS: &[&str] = &["follow", "previous", "timestamps"];
const VALUES: &[&str] = &["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"];
const STREAMS: &[&str] = &["All", "Stderr", "Stdout"];

pub(crate) async fn logs(api: &Api, call: &Call) -> Result<Answer, ApiError> {
    check_options(call)?;
    let pod = api.stored(call.kind, call.namespace(), call.name()).await?.value();
    let container = containers::choose(&pod, call.query.text("container"))?;
    let node = text(&pod, "/spec/nodeName");
    if node.is_empty() {
        // Nothing runs yet, nothing is logged yet.
        return Ok(Answer::new(204, Content::Stream(whole(Bytes::new()), "text/plain")));
    }
    let address = kubelet_of(api, node).await?;
    let path = node_path(call, &container);
    let unreachable = |e: &dyn Display| {
        ApiError::new(500, "", format!("Get \"https://{}{path}\": {e}", address.authority()))
    };
    let request = Request::get(&path)
        .header(HOST, address.authority())
        .body(backend::empty())
        .map_err(|e| unreachable(&e))?;
    let response = api.backends.exchange(&address, request, Some(RESPONSE_TIMEOUT)).await;
    let response = response.map_err(|e| unreachable(&e))?;
    let code = response.status().as_u16();
    if !(200..=206).contains(&code) {
        return Err(of_node(call, code, response.into_body()).await);
    }
    let body = backend::pass_on(response.into_body(), api.stop.clone(), AtBreak::End, ());
    Ok(Answer::new(200, Content::Stream(body, "text/plain")))
}

/// What `PodLogOptions` forbids.
fn check_options(call: &Call) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    for (name, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(value) = call.query.number(name)? else { continue };
        if value < least {
            let detail = format!("must be greater than {}", if least == 0 { "or equal to 0" } else { "0" });
            errors.push(FieldError::invalid(&Path::new(name), value, &detail));
        }
    }
    let since_time = call.query.text("sinceTime");
    if let Some(time) = since_time.filter(|time| time.parse::<Timestamp>().is_err()) {
        let message = format!("parsing time {time:?} as \"2006-01-02T15:04:05Z07:00\": it is none");
        return Err(ApiError::bad_request(message));
    }
    if call.query.text("sinceSeconds").is_some() && since_time.is_some() {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden(&Path::root(), detail));
    }
    if let Some(stream) = call.query.text("stream") {
        if !STREAMS.contains(&stream) {
            errors.push(FieldError::not_supported(&Path::new("stream"), stream, STREAMS));
        }
        if stream != "All" && call.query.text("tailLines").is_some() {
            let detail = "`tailLines` and specific `stream` are mutually exclusive for now";
            errors.push(FieldError::forbidden(&Path::root(), detail));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_kind("", "PodLogOptions", call.name(), &errors))
}

/// `insecureSkipTLSVerifyBackend` goes without saying: nodes' certificates are not verified.
fn node_path(call: &Call, container: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in FLAGS.iter().filter(|name| call.query.flag(name) == Some(true)) {
        query.append_pair(name, "true");
    }
    for name in VALUES {
        if let Some(value) = call.query.text(name) {
            query.append_pair(name, value);
        }
    }
    location::node_path("containerLogs", &[call.namespace(), call.name(), container], &query.finish())
}

/// A node's refusal, as upstream passes it on.
async fn of_node(call: &Call, code: u16, body: Incoming) -> ApiError {
    let text = backend::error_text(body).await;
    match code {
        400 => ApiError::bad_request(text),
        500 => ApiError::internal(text),
        404 => {
            let message =
                format!("the server could not find the requested resource ( pods/log {})", call.name());
            ApiError::new(404, "NotFound", message).with_cause("UnexpectedServerResponse", &text)
        }
        401 | 403 => ApiError::internal(format!("the node refused this server's certificate: {text}")),
        _ => ApiError::internal(format!("the node answered with status {code}: {text}")),
    }
}
