//! Signatures of `cluster-info`: JSON web signatures with a shared key (HS256), whose content stands elsewhere (RFC 7515, appendix F).
//!
//! The signature comes from whoever answers at an address that nobody has vouched for, and is judged by this alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Deserialize;

use super::token::Token;

/// Longest signature that is looked at, in bytes; real ones have about 90.
const LONGEST: usize = 4096;

/// What a signature says of itself.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// Whether `given` is this token's signature of the content.
pub(super) fn verifies(token: &Token, content: &str, given: &str) -> bool {
    if given.len() > LONGEST {
        return false;
    }
    let Some((head, signature)) = given.split_once("..") else { return false };
    let (Ok(header), Ok(signature)) = (URL_SAFE_NO_PAD.decode(head), URL_SAFE_NO_PAD.decode(signature))
    else {
        return false;
    };
    let Ok(header) = serde_json::from_slice::<Header>(&header) else { return false };
    if header.alg != "HS256" || header.kid != token.id {
        return false;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret());
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(content));
    hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
}

#[cfg(test)]
pub(super) mod tests;
