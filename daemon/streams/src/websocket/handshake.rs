//! The opening handshake: what a client asks for, and what it is answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use ring::digest;
use thiserror::Error;

use crate::upgrade::asks_for;

/// RFC 6455, 1.3.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Sub-protocols of one request at most that are looked at.
const PROTOCOLS: usize = 32;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Offer {
    /// The value of `Sec-WebSocket-Accept` in the answer.
    pub accept: String,
    /// Sub-protocols, the ones it likes best first.
    pub protocols: Vec<String>,
}

/// Why a request cannot be answered with a WebSocket.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// Only 13 is spoken.
    #[error("the header {SEC_WEBSOCKET_VERSION} is not 13")]
    Version,
    /// 16 bytes in base64 are wanted.
    #[error("the header {SEC_WEBSOCKET_KEY} is missing or no key")]
    Key,
}

/// What a request for a WebSocket offers; `None` for other requests.
///
/// # Errors
/// It is one, but cannot be answered.
pub fn offer(headers: &HeaderMap) -> Option<Result<Offer, HandshakeError>> {
    asks_for(headers, "websocket").then(|| read(headers))
}

fn read(headers: &HeaderMap) -> Result<Offer, HandshakeError> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if text(&SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(HandshakeError::Version);
    }
    let key = text(&SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?;
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(HandshakeError::Key);
    }
    let protocols =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    let protocols =
        protocols.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty());
    Ok(Offer { accept: accept_key(key), protocols: protocols.take(PROTOCOLS).map(str::to_owned).collect() })
}

/// The answer to a key.
#[must_use]
pub fn accept_key(key: &str) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    STANDARD.encode(digest)
}

/// A key for a request of one's own. It need not be secret, only another one each time.
#[must_use]
pub fn request_key() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let half = || RandomState::new().hash_one(()).to_be_bytes();
    let mut key = [0; 16];
    key[..8].copy_from_slice(&half());
    key[8..].copy_from_slice(&half());
    STANDARD.encode(key)
}

#[cfg(test)]
mod tests;
