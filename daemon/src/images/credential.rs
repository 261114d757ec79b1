//! What a registry is shown, and where it came from. Nothing of it can get into a log by way of `Debug`.

use std::fmt;

use cri_client::v1::AuthConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(String);

impl Hidden {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(empty)" } else { "(hidden)" })
    }
}

/// What a registry is shown. The order and the names of the fields decide the hash, which is a kubelet's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Credential {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    #[serde(skip_serializing_if = "Hidden::is_empty")]
    pub(crate) password: Hidden,
    /// Kept for the hash alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) email: String,
    /// Exchanged for a token by the registry's token service.
    #[serde(rename = "identitytoken", skip_serializing_if = "Hidden::is_empty")]
    pub(crate) identity_token: Hidden,
    /// Sent to the registry as it is.
    #[serde(rename = "registrytoken", skip_serializing_if = "Hidden::is_empty")]
    pub(crate) registry_token: Hidden,
}

impl Credential {
    /// As CRI takes it.
    pub(crate) fn auth_config(&self) -> AuthConfig {
        AuthConfig {
            username: self.username.clone(),
            password: self.password.reveal().to_owned(),
            identity_token: self.identity_token.reveal().to_owned(),
            registry_token: self.registry_token.reveal().to_owned(),
            ..AuthConfig::default()
        }
    }

    /// SHA-256 of the fields as Go writes them in JSON: by it a kubelet knows a secret again that has another name.
    pub(crate) fn hash(&self) -> String {
        let json = serde_json::to_string(self).expect("texts and fixed names always have a JSON form");
        hex(&Sha256::digest(escaped_as_go(&json)))
    }
}

/// Go's encoder also escapes what could be taken for HTML or for the end of a line of JavaScript.
fn escaped_as_go(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            c => text.push(c),
        }
    }
    text
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which secret a credential came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretName {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Whose service account a credential was given for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AccountName {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// Where a credential came from, which decides who else may use what it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The node's own: every pod on it may use it.
    Node,
    /// A pull secret of the pod.
    Secret(SecretName),
    /// A plugin, for the pod's service account.
    Account(AccountName),
}

/// A credential that fits an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) credential: Credential,
    pub(crate) source: Source,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let credential = Credential {
            username: "somebody".into(),
            password: Hidden::new("pass-phrase"),
            identity_token: Hidden::new("identity"),
            registry_token: Hidden::new("registry"),
            ..Credential::default()
        };
        let shown = format!("{credential:?}");
        assert!(shown.contains("somebody"));
        for secret in ["pass-phrase", "\"identity\"", "\"registry\""] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn the_hash_is_of_the_json_that_go_writes() {
        let of = |json: &str| hex(&Sha256::digest(json));
        let credential = Credential {
            username: "user".into(),
            password: Hidden::new("a<b>&c\u{2028}\"\u{1}"),
            email: "user@example.com".into(),
            ..Credential::default()
        };
        let json = r#"{"username":"user","password":"a\u003cb\u003e\u0026c\u2028\"\u0001","email":"user@example.com"}"#;
        assert_eq!(credential.hash(), of(json));
        assert_eq!(Credential::default().hash(), of("{}"));
    }
}
