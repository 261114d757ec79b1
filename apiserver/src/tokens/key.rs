//! The key that signs tokens: ECDSA on P-256 (`ES256`), which all clients that check tokens know beside RSA.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const ALGORITHM: &str = "ES256";
/// Longest token that is looked at, in bytes.
const TOKEN_LIMIT: usize = 16 * 1024;
/// What stands before the point in a public key of this curve in its standard form (RFC 5480).
const PUBLIC_KEY_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// A point without compression: a byte that says so, and two coordinates.
const POINT_BYTES: usize = 65;

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("no private key of the curve P-256 in PKCS #8 and PEM form: {0}")]
pub(crate) struct KeyError(String);

/// Signing failed, for want of random numbers.
#[derive(Debug, thiserror::Error)]
#[error("a token could not be signed")]
pub(crate) struct SignError;

/// A private key with its public part.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    public: [u8; POINT_BYTES],
    /// `kid` of tokens: a digest of the public key (as upstream).
    id: String,
}

impl std::fmt::Debug for SigningKey {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    pub(crate) fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| KeyError(e.to_string()))?;
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
                .map_err(|e| KeyError(e.to_string()))?;
        let public = <[u8; POINT_BYTES]>::try_from(pair.public_key().as_ref())
            .map_err(|_| KeyError("the public part has another length".to_owned()))?;
        let digest = Sha256::new().chain_update(PUBLIC_KEY_PREFIX).chain_update(public).finalize();
        Ok(Self { pair, public, id: URL_SAFE_NO_PAD.encode(digest) })
    }

    /// A token that says this.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, SignError> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": ALGORITHM, "kid": self.id })), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| SignError)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says, if this key has signed it.
    pub(crate) fn verify(&self, token: &str) -> Option<Value> {
        if token.len() > TOKEN_LIMIT {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Value = serde_json::from_slice(&decoded(header)?).ok()?;
        if header["alg"] != ALGORITHM || header.get("kid").is_some_and(|kid| *kid != self.id.as_str()) {
            return None;
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public);
        key.verify(signed.as_bytes(), &decoded(signature)?).ok()?;
        serde_json::from_slice(&decoded(claims)?).ok()
    }

    /// The public key as a JSON web key.
    pub(crate) fn public(&self) -> Value {
        let (x, y) = self.public[1..].split_at((POINT_BYTES - 1) / 2);
        json!({
            "use": "sig",
            "kty": "EC",
            "kid": self.id,
            "crv": "P-256",
            "alg": ALGORITHM,
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
