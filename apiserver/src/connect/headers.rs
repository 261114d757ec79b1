//! What of a head is passed on.
//!
//! Three sorts of fields stay here: those about this connection, those that say how long a body is (the sender of the next message says it
//! himself), and the caller's credentials.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::authenticate::TOKEN_PROTOCOL;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Field names of impersonation begin so.
const IMPERSONATE: &str = "impersonate-";

const OF_CONNECTION: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The words of a list that may stand in several fields.
pub(super) fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(name).iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// Without what is about the connection that the head came over.
fn without_hop(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in words(headers, CONNECTION) {
        if let Ok(name) = HeaderName::try_from(name) {
            passed.remove(name);
        }
    }
    for name in OF_CONNECTION {
        passed.remove(name);
    }
    passed
}

/// A client's fields for a backend.
pub(super) fn of_request(headers: &HeaderMap, peer: Option<IpAddr>) -> HeaderMap {
    let mut passed = without_hop(headers);
    for name in [AUTHORIZATION, CONTENT_LENGTH, EXPECT] {
        passed.remove(name);
    }
    let impersonation: Vec<HeaderName> =
        passed.keys().filter(|name| name.as_str().starts_with(IMPERSONATE)).cloned().collect();
    for name in impersonation {
        passed.remove(name);
    }
    if passed.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        let kept: Vec<&str> = words(headers, SEC_WEBSOCKET_PROTOCOL)
            .filter(|protocol| !protocol.starts_with(TOKEN_PROTOCOL))
            .collect();
        let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|kept| !kept.is_empty());
        passed.remove(SEC_WEBSOCKET_PROTOCOL);
        passed.extend(kept.map(|kept| (SEC_WEBSOCKET_PROTOCOL, kept)));
    }
    if let Some(peer) = peer {
        let before = words(headers, X_FORWARDED_FOR).map(str::to_owned);
        let list: Vec<String> = before.chain([peer.to_string()]).collect();
        passed.remove(X_FORWARDED_FOR);
        passed.extend(HeaderValue::from_str(&list.join(", ")).ok().map(|list| (X_FORWARDED_FOR, list)));
    }
    passed
}

/// A backend's fields for a client. Who else may read the answer is for this server to say, not for a pod (as upstream).
pub(super) fn of_answer(headers: &HeaderMap) -> HeaderMap {
    let mut passed = without_hop(headers);
    for name in ["credentials", "headers", "methods", "origin"] {
        passed.remove(format!("access-control-allow-{name}"));
    }
    passed
}

#[cfg(test)]
mod tests;
