//! Credentials in the two forms that `docker login` has written: `config.json` (`{"auths": {...}}`) and the older `.dockercfg`
//! (the same without `auths`). behaviour.md 14.1, 14.3.
//!
//! Field names count in any case and unknown ones are ignored, as Go reads them. No error repeats anything of the text but
//! the names of registries.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use thiserror::Error;

use super::credential::{Credential, Hidden};

/// As much as a secret can hold.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// As tolerant as Go: padding may be missing, bits after the end count for nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials by registry, as the file names it.
pub(crate) type DockerConfig = BTreeMap<String, Credential>;

/// A text that holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum DockerConfigError {
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// The parser's own words could repeat a part of a secret.
    #[error("no JSON at line {line}, column {column}")]
    Syntax { line: usize, column: usize },
    #[error("{field}: expected {expected}")]
    Type { field: String, expected: &'static str },
    #[error("{field}: {why}")]
    Auth { field: String, why: &'static str },
}

/// Reads a `config.json`, which is what secrets of type `kubernetes.io/dockerconfigjson` hold.
pub(crate) fn parse_config_json(bytes: &[u8]) -> Result<DockerConfig, DockerConfigError> {
    let document = object(bytes)?;
    match field(&document, "auths") {
        None => Ok(DockerConfig::new()),
        Some(Value::Object(auths)) => entries(auths, "auths"),
        Some(_) => Err(DockerConfigError::Type { field: "auths".to_owned(), expected: "an object" }),
    }
}

/// Reads a `.dockercfg`, which is what secrets of type `kubernetes.io/dockercfg` hold.
pub(crate) fn parse_dockercfg(bytes: &[u8]) -> Result<DockerConfig, DockerConfigError> {
    entries(&object(bytes)?, "")
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, DockerConfigError> {
    if bytes.len() > MAX_BYTES {
        return Err(DockerConfigError::TooLarge);
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(DockerConfigError::Type { field: "the document".to_owned(), expected: "an object" }),
        Err(error) => Err(DockerConfigError::Syntax { line: error.line(), column: error.column() }),
    }
}

/// The field of this name, in any case where the exact one is not there. Null is not there.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = object
        .get(name)
        .or_else(|| object.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v));
    found.filter(|value| !value.is_null())
}

fn entries(fields: &Map<String, Value>, under: &str) -> Result<DockerConfig, DockerConfigError> {
    let mut config = DockerConfig::new();
    for (registry, value) in fields {
        let path =
            if under.is_empty() { format!("[{registry:?}]") } else { format!("{under}[{registry:?}]") };
        match value {
            Value::Null => {}
            Value::Object(entry) => {
                config.insert(registry.clone(), credential(entry, &path)?);
            }
            _ => return Err(DockerConfigError::Type { field: path, expected: "an object" }),
        }
    }
    Ok(config)
}

fn credential(entry: &Map<String, Value>, path: &str) -> Result<Credential, DockerConfigError> {
    let text = |name: &str| match field(entry, name) {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(DockerConfigError::Type { field: format!("{path}.{name}"), expected: "a string" }),
    };
    let mut credential = Credential {
        username: text("username")?.to_owned(),
        password: Hidden::new(text("password")?),
        email: text("email")?.to_owned(),
        identity_token: Hidden::new(text("identitytoken")?),
        registry_token: Hidden::new(text("registrytoken")?),
    };
    let auth = text("auth")?;
    if !auth.is_empty() {
        // It says what the two fields say, and goes before them.
        (credential.username, credential.password) =
            decoded(auth).map_err(|why| DockerConfigError::Auth { field: format!("{path}.auth"), why })?;
    }
    Ok(credential)
}

/// `base64(username:password)`; a password may have colons.
fn decoded(auth: &str) -> Result<(String, Hidden), &'static str> {
    let text: String = auth.trim().chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = BASE64.decode(text).map_err(|_| "is no base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "does not hold text")?;
    let (username, password) = text.split_once(':').ok_or("does not hold username:password")?;
    Ok((username.to_owned(), Hidden::new(password)))
}

#[cfg(test)]
mod tests;
