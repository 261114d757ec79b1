//! A change of protocol, asked of a backend for a client.
//!
//! What keeps two requests from becoming one, or one from becoming two:
//!
//! * one protocol is asked for, and only `websocket` or `SPDY/3.1`: HTTP/2 in a tunnel would carry requests that nobody authorizes;
//! * a request with a body is refused, so that no byte of the client precedes the backend's 101;
//! * the backend has to name the protocol that was asked for; after any other answer its connection and the client's end.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Peer, headers, tunnel};
use crate::answer::{Body, whole};
use crate::api::Api;
use crate::backend::{self, Address};
use crate::status::ApiError;

/// How long a node may take to answer: it asks its runtime first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may take from its 101 until it is free of HTTP.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(30);
const PROTOCOLS: &[&str] = &["websocket", "spdy/3.1"];

/// A client's wish for another protocol.
pub(super) struct Upgrade {
    /// As the client wrote it.
    protocol: HeaderValue,
    client: OnUpgrade,
}

/// Whom to ask, and for what.
pub(super) struct Target {
    pub(super) address: Address,
    /// Path and query.
    pub(super) path: String,
    /// The `Host` field; the address if there is none.
    pub(super) host: Option<HeaderValue>,
    /// Whether the backend is the kubelet that runs a stream: it gets some time, and its refusals become this server's.
    pub(super) of_node: bool,
}

impl Upgrade {
    /// What the head asks for; `None` if nothing, or something that is not passed on.
    pub(super) fn asked_for(head: &mut Parts, body: &Incoming) -> Result<Option<Self>, ApiError> {
        let asked = headers::words(&head.headers, CONNECTION).any(|w| w.eq_ignore_ascii_case("upgrade"));
        if !asked || head.version != Version::HTTP_11 {
            return Ok(None);
        }
        let protocols: Vec<String> =
            headers::words(&head.headers, UPGRADE).map(str::to_ascii_lowercase).collect();
        let protocol = match protocols.as_slice() {
            [one] if PROTOCOLS.contains(&one.as_str()) => head.headers.get(UPGRADE).cloned(),
            [] | [_] => None,
            _ => return Err(ApiError::bad_request("a request may ask for one upgrade only")),
        };
        let client = head.extensions.remove::<OnUpgrade>();
        let (Some(protocol), Some(client)) = (protocol, client) else { return Ok(None) };
        if !body.is_end_stream() {
            return Err(ApiError::bad_request("a request for an upgrade may not have a body"));
        }
        Ok(Some(Self { protocol, client }))
    }

    /// Asks the backend. If it agrees, the tunnel runs on its own when the answer has been sent.
    pub(super) async fn carry_out(
        self,
        api: &Api,
        head: &Parts,
        target: Target,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, ApiError> {
        let request = self.request(head, &target)?;
        let limit = target.of_node.then_some(ANSWER_TIMEOUT);
        let dialing = |e| ApiError::new(500, "", format!("error dialing backend: {e}"));
        let mut answer = api.backends.exchange(&target.address, request, limit).await.map_err(dialing)?;
        let code = answer.status().as_u16();
        if code != 101 {
            return self.refused(api, answer, target.of_node, permit).await;
        }
        let agreed = answer
            .headers()
            .get(UPGRADE)
            .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(self.protocol.as_bytes()));
        if !agreed {
            return Err(ApiError::new(502, "", "the backend switched to a protocol that was not asked for"));
        }
        let backend = hyper::upgrade::on(&mut answer);
        let mut response = Response::new(whole(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers::of_answer(answer.headers());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(UPGRADE, self.protocol);
        tokio::spawn(switch(self.client, backend, api.stop.clone(), permit));
        Ok(response)
    }

    fn request(&self, head: &Parts, target: &Target) -> Result<Request<backend::Outgoing>, ApiError> {
        let peer: Option<IpAddr> = head.extensions.get::<Peer>().map(|peer| peer.0);
        let mut fields = headers::of_request(&head.headers, peer);
        let host = match &target.host {
            Some(host) => host.clone(),
            None => HeaderValue::try_from(target.address.authority()).map_err(ApiError::internal)?,
        };
        fields.insert(HOST, host);
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(UPGRADE, self.protocol.clone());
        let mut request = Request::new(backend::empty());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() =
            target.path.parse().map_err(|e| ApiError::bad_request(format!("the path: {e}")))?;
        *request.headers_mut() = fields;
        Ok(request)
    }

    /// What a client gets instead of another protocol. Its connection ends then: what it may have sent already is no request.
    async fn refused(
        self,
        api: &Api,
        answer: Response<Incoming>,
        of_node: bool,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, ApiError> {
        let code = answer.status().as_u16();
        if code < 400 {
            let message = format!("invalid upgrade response: status code {code}");
            return Err(ApiError::new(500, "", message));
        }
        if of_node {
            return Err(of_kubelet(code, &backend::error_text(answer.into_body()).await));
        }
        let (head, body) = answer.into_parts();
        let body = backend::pass_on(body, api.stop.clone(), backend::AtBreak::Break, permit);
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = headers::of_answer(&head.headers);
        Ok(response)
    }
}

/// A kubelet's refusal as a `Status`, with the words that kubectl has for it.
fn of_kubelet(code: u16, text: &str) -> ApiError {
    let said = serde_json::from_str::<Value>(text).ok().filter(|status| status["kind"] == "Status");
    let text = said.as_ref().and_then(|status| status["message"].as_str()).unwrap_or(text);
    let reason = match code {
        // It is this server that the node does not know.
        401 | 403 => {
            return ApiError::internal(format!("the node refused this server's certificate: {text}"));
        }
        400 => "BadRequest",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    ApiError::new(code, reason, format!("unable to upgrade connection: {text}"))
}

/// Waits until both connections are free, and carries.
async fn switch(
    client: OnUpgrade,
    backend: OnUpgrade,
    stop: CancellationToken,
    permit: OwnedSemaphorePermit,
) {
    let both = async { tokio::try_join!(client, backend) };
    match timeout(SWITCH_TIMEOUT, both).await {
        Ok(Ok((client, backend))) => {
            tunnel::carry(TokioIo::new(client), TokioIo::new(backend), &stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a stream ended before it began"),
        Err(_) => tracing::debug!("a stream did not begin in time"),
    }
    drop(permit);
}

#[cfg(test)]
mod tests;
