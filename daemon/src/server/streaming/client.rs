//! What a client speaks, and the answers that make it speak that.

use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE, USER_AGENT,
};
use http::{HeaderName, StatusCode};
use hyper::upgrade::OnUpgrade;
use streams::upgrade::{STREAM_PROTOCOL, asks_for};
use streams::websocket::{self, Offer};

use crate::server::Asked;
use crate::server::reply::{self, Reply};

/// As `Upgrade` has it.
pub(super) const SPDY: &str = "SPDY/3.1";

/// A client that wants its connection upgraded.
pub(super) struct Client {
    pub(super) spoken: Spoken,
    pub(super) upgrade: OnUpgrade,
}

pub(super) enum Spoken {
    Spdy,
    WebSocket(Offer),
}

impl Client {
    /// # Errors
    /// It wants none, or none that it can have.
    pub(super) fn of(asked: &mut Asked) -> Result<Self, Box<Reply>> {
        let spoken = match websocket::offer(asked.headers()) {
            Some(Ok(offer)) => Spoken::WebSocket(offer),
            Some(Err(error)) => return Err(Box::new(reply::error(StatusCode::BAD_REQUEST, error))),
            None if asks_for(asked.headers(), SPDY) => Spoken::Spdy,
            None => return Err(required()),
        };
        // HTTP/2 has no upgrades.
        if asked.extensions().get::<OnUpgrade>().is_none() {
            return Err(required());
        }
        Ok(Self { spoken, upgrade: hyper::upgrade::on(asked) })
    }
}

/// With a kubelet's code, which takes it for its own fault.
fn required() -> Box<Reply> {
    Box::new(reply::error(StatusCode::INTERNAL_SERVER_ERROR, "Upgrade request required"))
}

/// What a client with a WebSocket offers, if it is one.
pub(super) fn offered(headers: &HeaderMap) -> Option<Offer> {
    websocket::offer(headers)?.ok()
}

/// Headers that a runtime is to see.
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    only(headers, &[STREAM_PROTOCOL, USER_AGENT])
}

fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            passed.append(name, value.clone());
        }
    }
    passed
}

/// The answer after which SPDY is spoken, with what the runtime has chosen.
pub(super) fn spdy(chosen: &HeaderMap) -> Reply {
    let mut reply = upgraded(HeaderValue::from_static(SPDY));
    reply.headers_mut().extend(only(chosen, &[STREAM_PROTOCOL]));
    reply
}

/// The answer after which a WebSocket is spoken.
pub(super) fn web_socket(accept: &str, protocol: Option<&'static str>) -> Reply {
    let mut reply = upgraded(HeaderValue::from_static("websocket"));
    // The digest is base64.
    if let Ok(accept) = HeaderValue::from_str(accept) {
        reply.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        reply.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    reply
}

fn upgraded(protocol: HeaderValue) -> Reply {
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(UPGRADE, protocol);
    reply
}

/// None of the client's sub-protocols is spoken.
pub(super) fn unknown_protocols(offered: &[String], known: &[&str]) -> Reply {
    let why = format!("requested protocol(s) are not supported: {offered:?}; supports {known:?}");
    reply::error(StatusCode::FORBIDDEN, why)
}
