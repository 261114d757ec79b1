//! JSON web signatures with a shared key (HS256), whose content stands elsewhere (RFC 7515, appendix F).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// The signature of a content with a token: `HEADER..SIGNATURE`. The same for the same three, so that whoever knows the token
/// may compare.
pub(super) fn sign(id: &str, secret: &str, content: &str) -> String {
    let header = header(id);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, signed(&header, content).as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Names the algorithm and the key, in this order.
fn header(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::json!({ "alg": "HS256", "kid": id }).to_string())
}

fn signed(header: &str, content: &str) -> String {
    format!("{header}.{}", URL_SAFE_NO_PAD.encode(content))
}

/// Whether `given` is a signature of the content with the token, in time that does not depend on how wrong it is.
#[cfg(test)]
pub(super) fn verify(id: &str, secret: &str, content: &str, given: &str) -> bool {
    let Some((head, signature)) = given.split_once("..") else { return false };
    let (Ok(signature), true) = (URL_SAFE_NO_PAD.decode(signature), head == header(id)) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::verify(&key, signed(head, content).as_bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests;
